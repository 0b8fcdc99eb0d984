"""Who is it, and what may they open: tokens of the user pool, and pages.

`TokenVerifier` checks a Cognito token: RS256 only, signed by a key of the pool, from the pool's issuer, for
our client, not expired. The keys are given at deploy time (a task in a private subnet cannot reach Cognito)
or fetched, kept by key ID; when in doubt a token is refused. What a token must say is laid down in AWS's
"Verifying JSON web tokens": ID tokens name the client in `aud`, access tokens in `client_id`.

    verifier = TokenVerifier(config)
    user = await verifier.authenticate(token)      # TokenError(reason) when it is not good
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol
from uuid import UUID

import jwt

from zedi import contract
from zedi.realtime.config import Config, ServiceError

Mode = Literal["read-write", "readonly"]

_FETCH_SECONDS: Final = 5.0
_FETCH_BYTES: Final = 256 * 1024
_REFETCH_SECONDS: Final = 60.0
"""An unknown key ID may be a rotated key or a forged token: one fetch a minute serves the first and does
not let the second use up the quota of Cognito's key endpoint."""
_LEEWAY_SECONDS: Final = 5
_TOKEN_BYTES: Final = 16 * 1024
_CACHE_SIZE: Final = 4096


@dataclass(frozen=True)
class User:
    """Who a token speaks for."""

    sub: str
    """The user's id in the pool; never changes."""
    email: str
    """Empty in access tokens, which do not carry it."""
    name: str
    """What to show to others: the display name, else the e-mail address, else the user name."""
    expires_at: float
    """Seconds since the epoch; the token is worth nothing from then on."""


class TokenError(Exception):
    """The token is not good. `reason` is one short sentence that may be shown to its bearer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _UnknownKey(TokenError):
    """Signed by a key that we do not have (yet)."""


class TokenVerifier:
    """Checks tokens of one user pool and client.

    `authenticate` is the one to use: it fetches the key set where it was not given, or when a token names a
    key that is not in it. `verify` does the same without ever waiting and refuses unknown keys; when
    COGNITO_JWKS is given it accepts all that `authenticate` does. Both raise TokenError. Building one
    raises ServiceError when COGNITO_JWKS holds no key.
    """

    def __init__(self, config: Config) -> None:
        self._issuer = config.cognito_issuer.rstrip("/")
        self._client_id = config.cognito_client_id
        self._url = config.cognito_jwks_url
        self._keys: dict[str, jwt.PyJWK] = {}
        if config.cognito_jwks:
            try:
                self._keys = _keys(config.cognito_jwks)
            except ValueError as error:
                raise ServiceError(
                    contract.COGNITO_JWKS, str(error), "Deploy again: the deployer reads the pool's keys."
                ) from error
        self._verified: dict[bytes, User] = {}
        self._fetching = asyncio.Lock()
        self._fetch_allowed_at = 0.0

    async def authenticate(self, token: str) -> User:
        """The user that `token` speaks for. Waits at most for one fetch of the key set (5 s)."""
        try:
            return self.verify(token)
        except _UnknownKey:
            if not self._url:
                raise
        async with self._fetching:
            await self._fetch()
        return self.verify(token)

    def verify(self, token: str) -> User:
        """The user that `token` speaks for, by the keys that are here."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        user = self._verified.get(digest)
        if user is None:
            user = self._check(token)
            while len(self._verified) >= _CACHE_SIZE:  # oldest first: tokens live an hour
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = user
        if user.expires_at <= time.time():
            self._verified.pop(digest, None)
            raise TokenError("the token has expired")
        return user

    def _check(self, token: str) -> User:
        if not token:
            raise TokenError("no token was given")
        if len(token) > _TOKEN_BYTES:
            raise TokenError("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, ValueError):
            raise TokenError("the token is malformed") from None
        if header.get("alg") != "RS256":
            raise TokenError("the token is not signed with RS256")
        key = self._keys.get(str(header.get("kid", "")))
        if key is None:
            raise _UnknownKey("the token is not signed by a key of this user pool")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "sub"], "verify_aud": False},
            )
        except jwt.InvalidTokenError as error:
            raise TokenError(_reason(error)) from None
        return self._user(claims)

    def _user(self, claims: dict[str, Any]) -> User:
        match claims.get("token_use"):
            case "id":
                client = claims.get("aud")
            case "access":
                client = claims.get("client_id")
            case _:
                raise TokenError("the token is neither an ID token nor an access token")
        if client != self._client_id:
            raise TokenError("the token was issued to another application")
        email = str(claims.get("email", ""))
        name = claims.get("custom:display_name") or claims.get("name") or email or claims.get("username", "")
        return User(str(claims["sub"]), email, str(name), float(claims["exp"]))

    async def _fetch(self) -> None:
        now = time.monotonic()
        if now < self._fetch_allowed_at:
            return
        self._fetch_allowed_at = now + _REFETCH_SECONDS
        try:
            text = await asyncio.to_thread(_get, self._url)
            keys = _keys(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not self._keys:
                self._fetch_allowed_at = now + 1.0  # nobody can sign in: try again soon
            raise TokenError(f"the user pool's keys cannot be fetched ({type(error).__name__})") from error
        self._keys = keys


class Connections(Protocol):
    """What PageAccess needs of an asyncpg pool."""

    async def fetch(self, query: str, *args: object) -> Any: ...


class PageAccess:
    """Who may open which page. A document's name is its page's id."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def modes(self, wishes: Sequence[tuple[str, str]]) -> list[Mode | None]:
        """How each (sub of a user, document) may be opened, or None: there is no such page for them.

        Raises what asyncpg raises when the database is away.
        """
        asked = [(sub, page) for sub, document in wishes if (page := page_id(document)) is not None]
        rows = (
            await self._connections.fetch(
                "SELECT wish.sub, wish.page, page_role(pages, wish.sub) AS role"
                " FROM unnest($1::text[], $2::uuid[]) AS wish (sub, page) JOIN pages ON pages.id = wish.page",
                [sub for sub, _ in asked],
                [page for _, page in asked],
            )
            if asked
            else []
        )
        roles = {(row["sub"], str(row["page"])): row["role"] for row in rows}
        return [_MODES.get(roles.get(wish)) for wish in wishes]


_MODES: Final[Mapping[str | None, Mode]] = {
    "owner": "read-write",
    "edit": "read-write",
    "view": "readonly",
}


def page_id(document: str) -> UUID | None:
    """The page that `document` is the text of; None unless it is an id in its one canonical form.

    Other spellings of the same id would be other documents of the same page.
    """
    try:
        page = UUID(document)
    except ValueError:
        return None
    return page if str(page) == document else None


def _keys(text: str) -> dict[str, jwt.PyJWK]:
    """The RSA signing keys of a JSON key set, by key ID. Raises ValueError when there are none."""
    keys: dict[str, jwt.PyJWK] = {}
    try:
        entries = json.loads(text)["keys"]
        for entry in entries:
            if entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig" and entry.get("kid"):
                keys[str(entry["kid"])] = jwt.PyJWK(entry, algorithm="RS256")
    except (KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ValueError(f"not a JSON key set: {error}") from error
    if not keys:
        raise ValueError("the key set holds no RSA signing key")
    return keys


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_FETCH_SECONDS) as response:
        body: bytes = response.read(_FETCH_BYTES)
    return body.decode("utf-8")


def _reason(error: jwt.InvalidTokenError) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "the token has expired"
        case jwt.InvalidIssuerError():
            return "the token is from another user pool"
        case jwt.InvalidSignatureError():
            return "the token's signature is wrong"
        case jwt.MissingRequiredClaimError():
            return f"the token lacks {error.claim}"
        case jwt.ImmatureSignatureError():
            return "the token is not valid yet"
        case _:
            return "the token is malformed"
