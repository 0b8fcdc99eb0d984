"""Who may do what with a page: owner, edit, view, and those for whom it is not there."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import httpx
import pytest

from zedi.notes import pages

pytestmark = pytest.mark.server

SignIn = Callable[[str], httpx.AsyncClient]


async def share(owner: httpx.AsyncClient, page: str, who: str, role: str | None) -> httpx.Response:
    return await owner.put(f"/api/pages/{page}/sharing/{who}", json={"role": role})


async def may(person: httpx.AsyncClient, page: str) -> dict[str, int]:
    """The status of everything that can be done with a page; deleting comes last."""
    path = f"/api/pages/{page}"
    return {
        "see": (await person.get(path)).status_code,
        "name": (await person.patch(path, json={"title": "x"})).status_code,
        "share": (await share(person, page, "everybody", "view")).status_code,
        "delete": (await person.delete(path)).status_code,
    }


@pytest.mark.parametrize(
    ("everybody", "member", "role"),
    [
        ("edit", None, "edit"),
        ("view", None, "view"),
        (None, None, None),
        (None, "view", "view"),
        (None, "edit", "edit"),
        ("edit", "view", "view"),
        ("view", "edit", "edit"),
    ],
)
async def test_a_member_comes_before_everybody(
    sign_in: SignIn, everybody: str | None, member: str | None, role: str | None
) -> None:
    """Each combination of what everybody and what one person may do, for every act."""
    hanako, taro = sign_in("hanako"), sign_in("taro")
    page = (await hanako.post("/api/pages")).json()["id"]
    await taro.get("/api/pages")  # he has signed in once
    assert (await share(hanako, page, "everybody", everybody)).json()["everybody"] == everybody
    if member is not None:
        await share(hanako, page, "taro", member)
    listed = (await taro.get("/api/pages")).json()["pages"]
    assert [found["role"] for found in listed] == ([role] if role else [])
    expected = {
        "edit": {"see": 200, "name": 200, "share": 403, "delete": 403},
        "view": {"see": 200, "name": 403, "share": 403, "delete": 403},
        None: {"see": 404, "name": 404, "share": 404, "delete": 404},
    }
    assert await may(taro, page) == expected[role]
    assert await may(hanako, page) == {"see": 200, "name": 200, "share": 200, "delete": 204}


async def test_a_page_is_shared_by_address(sign_in: SignIn, access_changed: list[UUID]) -> None:
    """The owner finds somebody by their exact address, lets them in, changes it, and takes it back; the
    realtime tasks are told every time."""
    hanako, taro = sign_in("hanako"), sign_in("taro")
    page = (await hanako.post("/api/pages")).json()["id"]
    found = await hanako.get("/api/people", params={"email": "taro@example.com"})
    assert found.json() == {"people": []}  # nobody has seen him yet
    await taro.get("/api/pages")
    for words in ("TARO@example.com", " taro@example.com "):
        (person,) = (await hanako.get("/api/people", params={"email": words})).json()["people"]
        assert person == {"id": "taro", "email": "taro@example.com", "name": "Taro"}
    assert (await hanako.get("/api/people", params={"email": "taro"})).json() == {"people": []}

    await share(hanako, page, "everybody", None)
    for role in ("view", "edit"):
        sharing = (await share(hanako, page, person["id"], role)).json()
        assert sharing == {
            "owner": {"id": "hanako", "email": "hanako@example.com", "name": "Hanako"},
            "everybody": None,
            "members": [{"person": person, "role": role}],
        }
        assert (await taro.get(f"/api/pages/{page}/sharing")).json() == sharing
    assert (await share(hanako, page, person["id"], None)).json()["members"] == []
    assert (await taro.get(f"/api/pages/{page}/sharing")).status_code == 404
    await hanako.delete(f"/api/pages/{page}")
    assert access_changed == [UUID(page)] * 5


@pytest.mark.parametrize(
    ("who", "content", "code"),
    [
        ("nobody", b'{"role": "edit"}', 404),
        ("hanako", b'{"role": "view"}', 404),
        ("everybody", b'{"role": "owner"}', 400),
        ("everybody", b'{"role": true}', 400),
        ("everybody", b"{}", 400),
        ("everybody", b"", 400),
    ],
)
async def test_what_cannot_be_shared_is_refused(
    sign_in: SignIn, access_changed: list[UUID], who: str, content: bytes, code: int
) -> None:
    """Nobody whom we have not seen, not the owner, no role that there is not; and nothing is changed."""
    hanako = sign_in("hanako")
    page = (await hanako.post("/api/pages")).json()["id"]
    before = (await hanako.get(f"/api/pages/{page}/sharing")).json()
    answer = await hanako.put(f"/api/pages/{page}/sharing/{who}", content=content)
    assert answer.status_code == code and answer.json()["error"]["message"]
    assert (await hanako.get(f"/api/pages/{page}/sharing")).json() == before
    assert access_changed == []


async def test_members_are_bounded(sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the bound is refused; one who is a member already can still be changed."""
    monkeypatch.setattr(pages, "MAX_MEMBERS", 2)
    hanako = sign_in("hanako")
    page = (await hanako.post("/api/pages")).json()["id"]
    for name in ("jiro", "ken", "taro"):
        await sign_in(name).get("/api/pages")
    assert (await share(hanako, page, "jiro", "view")).status_code == 200
    assert (await share(hanako, page, "ken", "view")).status_code == 200
    assert (await share(hanako, page, "taro", "view")).status_code == 409
    assert (await share(hanako, page, "ken", "edit")).status_code == 200


async def test_an_address_must_be_said(sign_in: SignIn) -> None:
    """There is no list of everybody."""
    assert (await sign_in("hanako").get("/api/people")).status_code == 400
