"""The HTTP API over a real PostgreSQL, with tokens of a real key."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pycrdt
import pytest

from zedi.deploy.target import Target
from zedi.notes import pages
from zedi.notes.api import MAX_BODY, Api
from zedi.realtime.access import TokenVerifier
from zedi.realtime.archive import Archive, place_of
from zedi.realtime.config import Config

if TYPE_CHECKING:
    from tests.servers import Database, Issuer

pytestmark = pytest.mark.server

SignIn = Callable[[str], httpx.AsyncClient]


@pytest.fixture
def client(sign_in: SignIn) -> httpx.AsyncClient:
    """Hanako, signed in."""
    return sign_in("hanako")


def error(answer: httpx.Response) -> tuple[int, str]:
    content: dict[str, Any] = answer.json()
    return answer.status_code, content["error"]["code"]


async def test_a_page_is_made_named_listed_and_deleted(client: httpx.AsyncClient) -> None:
    """The whole life of a page, as the front end leads it."""
    made = await client.post("/api/pages", json={"title": "買い物"})
    assert made.status_code == 201
    page = made.json()
    assert made.headers["location"] == f"/api/pages/{page['id']}"
    assert (page["title"], page["owner"]) == ("買い物", "hanako")

    renamed = (await client.patch(f"/api/pages/{page['id']}", json={"title": " 買い物\nメモ "})).json()
    assert renamed["title"] == "買い物 メモ"
    assert renamed["updated_at"] > page["updated_at"]
    assert (await client.get(f"/api/pages/{page['id']}")).json() == renamed
    assert (await client.get("/api/pages")).json() == {"pages": [renamed], "next": None}

    assert (await client.delete(f"/api/pages/{page['id']}")).status_code == 204
    assert (await client.get("/api/pages")).json()["pages"] == []
    for answer in (
        await client.get(f"/api/pages/{page['id']}"),
        await client.delete(f"/api/pages/{page['id']}"),
        await client.patch(f"/api/pages/{page['id']}", json={"title": "x"}),
    ):
        assert error(answer) == (404, "not_found")


async def test_deleting_a_page_keeps_its_text(client: httpx.AsyncClient, database: Database) -> None:
    """What somebody wrote is still in the journal after the page has gone from the list."""
    page = (await client.post("/api/pages")).json()["id"]
    connection = await database.connect()
    try:
        await connection.execute("INSERT INTO documents (name, seq) VALUES ($1, 1)", page)
        await connection.execute("INSERT INTO updates VALUES ($1, 1, $2)", page, b"text")
        await client.delete(f"/api/pages/{page}")
    finally:
        await connection.close()
    assert await database.updates(page) == [(1, b"text")]


async def test_an_edited_page_comes_first(client: httpx.AsyncClient, database: Database) -> None:
    """A page counts as changed when its text was, not only its title."""
    first, second = [(await client.post("/api/pages")).json()["id"] for _ in range(2)]
    listed = [page["id"] for page in (await client.get("/api/pages")).json()["pages"]]
    assert listed == [second, first]
    connection = await database.connect()
    try:
        await connection.execute("INSERT INTO documents (name, seq) VALUES ($1, 1)", first)
    finally:
        await connection.close()
    listed = [page["id"] for page in (await client.get("/api/pages")).json()["pages"]]
    assert listed == [first, second]


async def test_a_long_list_comes_in_pieces(client: httpx.AsyncClient, database: Database) -> None:
    """Following `next` gives every page once, in order, also where several changed at one moment."""
    connection = await database.connect()
    try:
        await connection.execute(
            "INSERT INTO pages (id, owner, updated_at) SELECT gen_random_uuid(), 'x',"
            f" now() - (i / 7) * interval '1 s' FROM generate_series(1, {2 * pages.MAX_LISTED + 5}) i"
        )
    finally:
        await connection.close()
    found: list[dict[str, str]] = []
    after: str | None = None
    for _ in range(3):
        answer = (await client.get("/api/pages", params={"after": after} if after else {})).json()
        found += answer["pages"]
        after = answer["next"]
    assert after is None
    assert len({page["id"] for page in found}) == len(found) == 2 * pages.MAX_LISTED + 5
    assert [page["updated_at"] for page in found] == sorted((p["updated_at"] for p in found), reverse=True)


async def test_a_page_has_versions(client: httpx.AsyncClient, database: Database) -> None:
    """Its snapshots are listed, the newest first, and each is there as one Yjs update."""
    page, other = [(await client.post("/api/pages")).json()["id"] for _ in range(2)]
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    states: list[bytes] = []
    for word in ("eins", "zwei"):
        doc.get("text", type=pycrdt.Text).insert(0, word)
        states.append(doc.get_update())
    connection = await database.connect()
    try:
        for number, state in enumerate(states, 1):
            await connection.execute(
                "INSERT INTO snapshots (document, seq, data, pending, vector, deletions, size)"
                " VALUES ($1, $2, $3, $4, $5, $5, $6)",
                *(page, number, state, [states[1]] if number == 1 else [], b"\0", len(state)),
            )
    finally:
        await connection.close()
    listed = (await client.get(f"/api/pages/{page}/versions")).json()["versions"]
    assert [(each["version"], each["size"]) for each in listed] == [(2, len(states[1])), (1, len(states[0]))]
    assert datetime.fromisoformat(listed[0]["made_at"])
    answer = await client.get(f"/api/pages/{page}/versions/2")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == states[1]
    both: pycrdt.Doc[Any] = pycrdt.Doc()
    both.apply_update((await client.get(f"/api/pages/{page}/versions/1")).content)
    assert str(both.get("text", type=pycrdt.Text)) == "zweieins"
    assert (await client.get(f"/api/pages/{other}/versions")).json() == {"versions": []}
    for path in (
        f"{page}/versions/3",
        f"{page}/versions/{2**70}",
        f"{other}/versions/1",
        f"{uuid.uuid4()}/versions",
        f"{uuid.uuid4()}/versions/1",
    ):
        assert error(await client.get(f"/api/pages/{path}")) == (404, "not_found")
    await client.delete(f"/api/pages/{page}")
    assert error(await client.get(f"/api/pages/{page}/versions/2")) == (404, "not_found")
    del client.headers["authorization"]
    assert error(await client.get(f"/api/pages/{page}/versions")) == (401, "unauthorized")


async def test_versions_of_two_places_are_one_list(
    client: httpx.AsyncClient, database: Database, history_bucket: str, target: Target
) -> None:
    """Those that moved to S3 are listed and served like the rest, until their days are over; one that is gone
    there is 404, and S3 away is 503 with a time to come again."""
    page = (await client.post("/api/pages")).json()["id"]
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc.get("text", type=pycrdt.Text).insert(0, "eins")
    state = doc.get_update()
    archive = Archive("ap-northeast-1")
    archive.put(place_of(history_bucket, page, 1), [state])
    connection = await database.connect()
    try:
        for number, days in ((1, 1), (2, 364), (3, 366)):
            await connection.execute(
                "INSERT INTO archived_versions VALUES"
                " ($1, $2, $3, $4, 7, now(), now() - $5 * interval '1 day')",
                *(page, number, history_bucket, place_of(history_bucket, page, number).key, days),
            )
        await connection.execute(
            "INSERT INTO snapshots (document, seq, data, vector, deletions, size)"
            " VALUES ($1, 4, $2, $3, $3, 8)",
            *(page, state, b"\0"),
        )
    finally:
        await connection.close()
    listed = (await client.get(f"/api/pages/{page}/versions")).json()["versions"]
    assert [(each["version"], each["size"]) for each in listed] == [(4, 8), (2, 7), (1, 7)]
    for number in (1, 4):
        answer = await client.get(f"/api/pages/{page}/versions/{number}")
        assert (answer.status_code, answer.content) == (200, state)
    for number in (2, 3):
        assert error(await client.get(f"/api/pages/{page}/versions/{number}")) == (404, "not_found")
    target.client("s3").put_object(
        Bucket=history_bucket, Key=place_of(history_bucket, page, 1).key, Body=b"\xff"
    )
    answer = await client.get(f"/api/pages/{page}/versions/1")
    assert error(answer) == (503, "unavailable")
    assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"title": 1}', (400, "invalid")),
        (b'{"title": "' + b"x" * 201 + b'"}', (400, "invalid")),
        (b"[]", (400, "invalid")),
        (b"{", (400, "invalid")),
        (b"\xff", (400, "invalid")),
        (b" " * (MAX_BODY + 1), (413, "too_large")),
    ],
)
async def test_what_cannot_be_is_refused(
    client: httpx.AsyncClient, content: bytes, code: tuple[int, str]
) -> None:
    """A body that makes no sense is one clear error, and nothing is made."""
    assert error(await client.post("/api/pages", content=content)) == code
    assert (await client.get("/api/pages")).json()["pages"] == []


async def test_titles_keep_what_can_be_shown(client: httpx.AsyncClient) -> None:
    """NUL, lone surrogates and line breaks do not reach the database; emoji and Japanese do."""
    made = await client.post(
        "/api/pages", content=b'{"title": "a\\u0000b\\ud800 \\n\\u3042\xf0\x9f\x8d\xa3"}'
    )
    assert made.json()["title"] == "ab あ🍣"


@pytest.mark.parametrize("path", ["/api/pages/1", f"/api/pages/{uuid.uuid4()}", "/api/x", "/"])
async def test_what_does_not_exist_is_json_too(client: httpx.AsyncClient, path: str) -> None:
    """Every 404 has the one form of errors."""
    assert error(await client.get(path)) == (404, "not_found")


async def test_a_wrong_cursor_is_refused(client: httpx.AsyncClient) -> None:
    """`after` takes what `next` said, and nothing else."""
    for after in ("x", "eA==", "あ"):
        assert error(await client.get("/api/pages", params={"after": after})) == (400, "invalid")


async def test_nobody_reads_without_a_good_token(
    client: httpx.AsyncClient, issuer: Issuer, stranger: Issuer
) -> None:
    """No token, a wrong scheme, an expired and a foreign token are 401 with a reason."""
    for header, reason in (
        ("", "Send a token"),
        ("Basic abc", "Send a token"),
        ("Bearer abc", "malformed"),
        (f"Bearer {issuer.token(seconds=-60)}", "expired"),
        (f"Bearer {stranger.token()}", "signature"),
        (f"Bearer {issuer.token(aud='other')}", "another application"),
    ):
        answer = await client.get("/api/pages", headers={"Authorization": header})
        assert error(answer) == (401, "unauthorized")
        assert reason in answer.json()["error"]["message"]
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_database_that_is_away_is_503(config: Config, issuer: Issuer, free_ports: Any) -> None:
    """Calls say that nothing was changed and when to come again; health says why."""
    address = replace(config.database, port=free_ports(1)[0])
    async with asyncpg.create_pool(min_size=0, max_size=1, **address.options()) as pool:
        archive = Archive(config.keeping.region)
        app = Api(pool, TokenVerifier(config), lambda page: None, archive, 0).application()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            client.headers["Authorization"] = f"Bearer {issuer.token()}"
            answer = await client.post("/api/pages")
            assert error(answer) == (503, "unavailable")
            assert answer.headers["retry-after"]
            health = await client.get("/health")
            assert (health.status_code, health.json()["ready"]) == (503, False)
