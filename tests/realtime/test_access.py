"""Tokens: each kind of bad one gets its one reason, and keys are fetched with restraint."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import asyncpg
import jwt
import pytest

from zedi.realtime.access import PageAccess, TokenError, TokenVerifier, page_id
from zedi.realtime.config import Config, ServiceError

if TYPE_CHECKING:
    from tests.servers import Database, Issuer


def test_an_id_token_tells_who_it_is(config: Config, issuer: Issuer) -> None:
    """sub, e-mail address, display name and end are taken from the claims."""
    claims: dict[str, Any] = {"custom:display_name": "花子"}
    token = issuer.token(**claims)
    user = TokenVerifier(config).verify(token)
    assert (user.sub, user.email, user.name) == ("user-1", "hanako@example.com", "花子")
    assert user.expires_at > 0


def test_an_access_token_names_its_client_elsewhere(config: Config, issuer: Issuer) -> None:
    """Access tokens carry client_id instead of aud, and no e-mail address."""
    token = issuer.token(
        token_use="access", aud=None, client_id=config.cognito_client_id, email=None, username="hanako"
    )
    user = TokenVerifier(config).verify(token)
    assert (user.email, user.name) == ("", "hanako")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"seconds": -60}, "the token has expired"),
        ({"iss": "https://cognito-idp.example.com/other"}, "the token is from another user pool"),
        ({"aud": "another-client"}, "the token was issued to another application"),
        ({"aud": None, "client_id": "example-client"}, "the token was issued to another application"),
        ({"token_use": "access"}, "the token was issued to another application"),
        ({"token_use": "refresh"}, "the token is neither an ID token nor an access token"),
        ({"token_use": None}, "the token is neither an ID token nor an access token"),
        ({"exp": None}, "the token lacks exp"),
        ({"sub": None}, "the token lacks sub"),
        ({"iat": 32503680000}, "the token is not valid yet"),
        ({"algorithm": "none"}, "the token is not signed with RS256"),
    ],
)
def test_a_bad_token_has_one_reason(config: Config, issuer: Issuer, claims: Any, reason: str) -> None:
    """Expired, foreign, incomplete and unsigned tokens are refused, each with its reason."""
    with pytest.raises(TokenError) as caught:
        TokenVerifier(config).verify(issuer.token(**claims))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "no token was given"),
        ("x", "the token is malformed"),
        ("a.b.c", "the token is malformed"),
        ("\udcff", "the token is malformed"),
        ("é" * 10, "the token is malformed"),
        ("x" * 20_000, "the token is too long"),
    ],
)
def test_what_is_no_token_is_refused(config: Config, token: str, reason: str) -> None:
    """Whatever text comes, the answer is a TokenError."""
    with pytest.raises(TokenError) as caught:
        TokenVerifier(config).verify(token)
    assert caught.value.reason == reason


def test_a_foreign_signature_under_our_key_id_is_refused(config: Config, stranger: Issuer) -> None:
    """Another pool's token, with our key's ID in its header."""
    with pytest.raises(TokenError, match="signature"):
        TokenVerifier(config).verify(stranger.token())


def test_a_token_signed_with_a_shared_secret_is_refused(config: Config, issuer: Issuer) -> None:
    """The old trick: a token that asks to be checked as HS256."""
    forged = jwt.encode({"sub": "x"}, "x" * 32, algorithm="HS256", headers={"kid": issuer.kid})
    with pytest.raises(TokenError, match="RS256"):
        TokenVerifier(config).verify(forged)


def test_a_verified_token_still_expires(
    config: Config, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it was good a moment ago does not make it good for ever."""
    verifier = TokenVerifier(config)
    token = issuer.token(seconds=30)
    user = verifier.verify(token)
    monkeypatch.setattr("time.time", lambda: user.expires_at + 1)
    with pytest.raises(TokenError, match="expired"):
        verifier.verify(token)


def test_a_key_set_without_keys_stops_the_service(config: Config) -> None:
    """It says which variable, before anything listens."""
    with pytest.raises(ServiceError, match="COGNITO_JWKS"):
        TokenVerifier(replace(config, cognito_jwks=json.dumps({"keys": [{"kty": "EC"}]})))


class KeyServer(ThreadingHTTPServer):
    """Serves a key set and counts how often."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _KeyHandler)
        self.body = ""
        self.count = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/jwks.json"


class _KeyHandler(BaseHTTPRequestHandler):
    server: KeyServer

    def do_GET(self) -> None:
        self.server.count += 1
        self.send_response(200 if self.server.body else 500)
        self.end_headers()
        self.wfile.write(self.server.body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    with KeyServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_keys_are_fetched_once_for_all(config: Config, issuer: Issuer, key_server: KeyServer) -> None:
    """Without COGNITO_JWKS the key set comes from its address; many who ask at once cost one request."""
    key_server.body = issuer.jwks
    verifier = TokenVerifier(replace(config, cognito_jwks="", cognito_jwks_url=key_server.url))
    with pytest.raises(TokenError):
        verifier.verify(issuer.token())
    users = await asyncio.gather(*(verifier.authenticate(issuer.token()) for _ in range(20)))
    assert {user.sub for user in users} == {"user-1"}
    assert key_server.count == 1


async def test_an_unknown_key_is_looked_up_once_a_minute(
    config: Config, issuer: Issuer, stranger: Issuer, key_server: KeyServer
) -> None:
    """A rotated key is found; a flood of made-up key IDs does not become a flood of requests."""
    key_server.body = issuer.jwks
    old = json.loads(stranger.jwks)
    old["keys"][0]["kid"] = "old"
    verifier = TokenVerifier(replace(config, cognito_jwks=json.dumps(old), cognito_jwks_url=key_server.url))
    assert (await verifier.authenticate(issuer.token())).sub == "user-1"
    other = issuer.token()
    for _ in range(5):
        with pytest.raises(TokenError, match="not signed by a key"):
            headers = {"kid": str(uuid.uuid4())}
            await verifier.authenticate(jwt.encode({}, stranger.key, algorithm="RS256", headers=headers))
    assert (await verifier.authenticate(other)).sub == "user-1"
    assert key_server.count == 1


async def test_keys_that_cannot_be_fetched_let_nobody_in(
    config: Config, issuer: Issuer, key_server: KeyServer
) -> None:
    """When in doubt the answer is no."""
    verifier = TokenVerifier(replace(config, cognito_jwks="", cognito_jwks_url=key_server.url))
    with pytest.raises(TokenError, match="cannot be fetched"):
        await verifier.authenticate(issuer.token())


@pytest.mark.server
async def test_a_page_has_one_name_until_it_is_deleted(database: Database) -> None:
    """Only the canonical spelling of a page's id opens it, and nothing opens one that was deleted."""
    page = await database.page()
    async with asyncpg.create_pool(min_size=0, max_size=1, **database.address.options()) as pool:
        access = PageAccess(pool)
        wrong = [page.upper(), page.replace("-", ""), f"{{{page}}}", "", "x", str(uuid.uuid4())]
        modes = await access.modes([("user-1", name) for name in [*wrong, page]])
        assert modes == [None] * len(wrong) + ["read-write"]
        await pool.execute("UPDATE pages SET deleted_at = now()")
        assert await access.modes([("user-1", page)]) == [None]
    assert page_id(page) == uuid.UUID(page)


@pytest.mark.server
async def test_roles_are_modes(database: Database) -> None:
    """An owner and an editor may write, a viewer may read, and nobody else is let in."""
    page = await database.page()
    async with asyncpg.create_pool(min_size=0, max_size=1, **database.address.options()) as pool:
        await pool.execute("UPDATE pages SET owner = 'hanako', everybody = NULL")
        await pool.execute(
            "INSERT INTO page_members (page, person, role) VALUES ($1, 'taro', 'edit'), ($1, 'ken', 'view')",
            uuid.UUID(page),
        )
        people = ["hanako", "taro", "ken", "stranger", ""]
        modes = await PageAccess(pool).modes([(sub, page) for sub in people])
        assert modes == ["read-write", "read-write", "readonly", None, None]
        assert await PageAccess(pool).modes([]) == []
