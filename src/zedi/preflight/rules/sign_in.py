"""The user pool and its web client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from zedi.preflight.rule import ERROR, WARNING, Problem, offline
from zedi.preflight.subject import Resource, Subject

_CLIENT: Final = (
    "https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-settings-client-apps.html"
)
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]", "::1")
_MOST: Final = 100
_UNITS: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


def _urls(client: Resource) -> Iterator[tuple[str, str]]:
    for path in ("CallbackURLs", "LogoutURLs"):
        for url in dict.fromkeys(client.literals(path)):
            yield path, str(url)


@offline(
    "Z201",
    "callback that is not HTTPS",
    ERROR,
    why="Cognito takes http:// for localhost only; the sign-in code would travel in the clear.",
    fix="Use https://, or http://localhost.",
    source=_CLIENT,
    says=(
        r"cannot use the HTTP protocol",
        r"HTTP is only supported for localhost",
        r"is not a valid (callback|redirect)",
    ),
)
def callbacks(subject: Subject) -> Iterator[Problem]:
    for client in subject.of_type("AWS::Cognito::UserPoolClient"):
        for path, url in _urls(client):
            parts = urlsplit(url)
            if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                yield Problem(f"{url} is not HTTPS", client, path, key=_key(subject, path, url))


@offline(
    "Z202",
    "callback that Cognito does not take",
    ERROR,
    why="Cognito refuses a URL with a fragment (#), one that stands there twice, and more than 100.",
    fix="Correct the list.",
    source=_CLIENT,
    says=(
        r"redirect_uris? .*fragment",
        r"Duplicate.*(callback|logout)",
    ),
)
def odd_callbacks(subject: Subject) -> Iterator[Problem]:
    for client in subject.of_type("AWS::Cognito::UserPoolClient"):
        for path in ("CallbackURLs", "LogoutURLs"):
            value = client.get(path)
            lists = value["Fn::If"][1:] if isinstance(value, dict) and "Fn::If" in value else [value or []]
            found = [[str(url) for url in subject.literals(client.phase, urls)] for urls in lists]
            for url in sorted({url for urls in found for url, count in Counter(urls).items() if count > 1}):
                yield Problem(f"{url} stands there twice", client, path, key=_key(subject, path, url))
            for url in sorted({url for urls in found for url in urls if "#" in url}):
                yield Problem(f"{url} has a fragment", client, path, key=_key(subject, path, url))
            # Also those that nobody can know yet, such as CloudFront's own address.
            most = max(len(urls) for urls in lists if isinstance(urls, list))
            if most > _MOST:
                yield Problem(f"{most} URLs; {_MOST} are taken", client, path, key=_key(subject, path, None))


def _key(subject: Subject, path: str, url: str | None) -> str | None:
    if subject.settings is None:
        return None
    if url and subject.settings.cdn.url and url.startswith(subject.settings.cdn.url):
        listed = {
            "CallbackURLs": subject.settings.security.callback_urls,
            "LogoutURLs": subject.settings.security.logout_urls,
        }
        if url not in listed[path]:
            return "cdn.url"
    return f"security.{'callback' if path == 'CallbackURLs' else 'logout'}_urls"


@offline(
    "Z205",
    "password policy weaker than agreed",
    WARNING,
    why="Passwords have eight characters or more, with upper and lower case, digits and symbols.",
    fix="Set security.password_minimum_length to 8 or more.",
    source="https://docs.aws.amazon.com/cognito/latest/developerguide/managing-users-passwords.html",
)
def weak_passwords(subject: Subject) -> Iterator[Problem]:
    for pool in subject.of_type("AWS::Cognito::UserPool"):
        path = "Policies.PasswordPolicy"
        for length in pool.numbers(f"{path}.MinimumLength"):
            if length < 8:
                yield Problem(f"{length:g} characters are enough", pool, f"{path}.MinimumLength")
        for kind in ("Uppercase", "Lowercase", "Numbers", "Symbols"):
            if pool.get(f"{path}.Require{kind}") is False:
                yield Problem(f"{kind.lower()} are not asked for", pool, f"{path}.Require{kind}")


@offline(
    "Z207",
    "refresh token that dies before the access token",
    ERROR,
    why="Cognito refuses a client whose refresh token lives shorter than its access or ID token.",
    fix="Raise security.refresh_token_days, or lower security.token_hours.",
    source="https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-refresh-token.html",
    says=(r"Refresh Token expiration time must be greater than",),
)
def token_lives(subject: Subject) -> Iterator[Problem]:
    for client in subject.of_type("AWS::Cognito::UserPoolClient"):
        lives = {kind: _seconds(client, kind) for kind in ("Refresh", "Access", "Id")}
        refresh = lives["Refresh"]
        for kind in ("Access", "Id"):
            life = lives[kind]
            if refresh is not None and life is not None and life > refresh:
                yield Problem(f"{kind} tokens outlive the refresh token", client, "RefreshTokenValidity")


def _seconds(client: Resource, kind: str) -> float | None:
    amounts = client.numbers(f"{kind}TokenValidity")
    unit = client.get(f"TokenValidityUnits.{kind}Token") or ("days" if kind == "Refresh" else "hours")
    return amounts[0] * _UNITS[unit] if amounts and unit in _UNITS else None
