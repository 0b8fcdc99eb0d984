"""The HTTP API as a Starlette application.

    GET    /health                  200 once the tables have been found up to date, until then 503
    GET    /api/pages[?after=C]     {"pages": [page], "next": C | null}, the newest change first
    POST   /api/pages {"title"?}    201 page
    GET    /api/pages/{id}          page
    PATCH  /api/pages/{id} {"title"} page
    DELETE /api/pages/{id}          204
    GET    /api/pages/{id}/sharing  sharing
    PUT    /api/pages/{id}/sharing/{"everybody" or a person's id} {"role": "edit" | "view" | null} sharing
    GET    /api/people?email=E      {"people": [person]}: who has signed in with this address
    GET    /api/pages/{id}/versions {"versions": [version]}, the newest first
    GET    /api/pages/{id}/versions/{version}
                                    the page's text as it was: a Yjs update, application/octet-stream

Every call but /health carries `Authorization: Bearer {token of the user pool}`. Times are in ISO 8601.

    page     {"id", "title", "owner", "role", "created_at", "updated_at"}; role is what the caller may do:
             owner, edit, view (`notes.pages` says what that is)
    sharing  {"owner": person, "everybody": role, "members": [{"person": person, "role": role}]}
    person   {"id", "email", "name"}
    version  {"version", "made_at", "size"} (bytes). To go back to one, make the change in an editor: it is
             an edit like any other.

What is wrong is answered as {"error": {"code", "message"}}: 400 invalid, 401 unauthorized, 403 forbidden,
404 not_found, 409 too_many, 413 too_large, 503 unavailable (with Retry-After).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from zedi import contract, schema
from zedi.notes import pages
from zedi.realtime.access import TokenError, TokenVerifier, User
from zedi.realtime.archive import Archive, ArchiveError, Place

MAX_BODY: Final = 64 * 1024
"""Bytes of a request's body."""
ACQUIRE_TIMEOUT: Final = 5.0
"""Seconds to wait for a connection before the answer is 503."""

_MOST: Final = 2**63 - 1
"""The highest number that the database can be asked for."""

log = logging.getLogger(__name__)

EVERYBODY: Final = "everybody"
"""Instead of a person's id: all who are signed in."""
_REMEMBERED: Final = 10_000
_LATER: Final = {"Retry-After": "2"}

Found = TypeVar("Found")
Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]
Handler = Callable[[Request], Awaitable[Response]]


class ApiError(Exception):
    """An answer that is an error: status, a code for programs, a sentence for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message


class Api:
    """The handlers, over one pool of connections and one verifier of tokens."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        verifier: TokenVerifier,
        access_changed: Callable[[UUID], None],
        archive: Archive,
        archive_days: int,
    ) -> None:
        """`access_changed` is told of every page whose readers may have become others. It does not wait.
        `archive` has the versions that left the database, for `archive_days` (0: for ever)."""
        self._pool = pool
        self._verifier = verifier
        self._access_changed = access_changed
        self._archive = archive
        self._archive_days = archive_days
        self._has_answered = False
        self._remembered: dict[str, pages.Person] = {}

    def application(self, lifespan: Lifespan | None = None) -> Starlette:
        routes = [
            Route(contract.HEALTH_PATH, self.health),
            Mount(
                contract.API_PATH,
                routes=[
                    Route("/pages", self.list, methods=["GET"]),
                    Route("/pages", self.create, methods=["POST"]),
                    Route("/pages/{page:uuid}", self.get, methods=["GET"]),
                    Route("/pages/{page:uuid}", self.rename, methods=["PATCH"]),
                    Route("/pages/{page:uuid}", self.delete, methods=["DELETE"]),
                    Route("/pages/{page:uuid}/sharing", self.sharing, methods=["GET"]),
                    Route("/pages/{page:uuid}/sharing/{person}", self.share, methods=["PUT"]),
                    Route("/people", self.people, methods=["GET"]),
                    Route("/pages/{page:uuid}/versions", self.versions, methods=["GET"]),
                    Route("/pages/{page:uuid}/versions/{version:int}", self.version, methods=["GET"]),
                ],
            ),
        ]
        handlers: dict[Any, Any] = {
            ApiError: _api_error,
            pages.ForbiddenError: _forbidden,
            HTTPException: _http_error,
            asyncpg.PostgresError: _database_error,
            asyncpg.InterfaceError: _database_error,
            OSError: _database_error,
            TimeoutError: _database_error,
        }
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)

    async def health(self, request: Request) -> Response:
        """Asks the database until its tables are up to date, and never again.

        Checks come every few seconds: they would keep a database awake that could pause, and while it wakes
        (15-30 s) they would have the whole task replaced, with the realtime service in it.
        """
        if self._has_answered:
            return JSONResponse({"ready": True})
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT), self._connection() as connection:
                outstanding = await schema.outstanding(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            return JSONResponse({"ready": False, "database": str(error) or type(error).__name__}, 503)
        if outstanding:
            return JSONResponse({"ready": False, "database": f"lacks {', '.join(outstanding)}"}, 503)
        self._has_answered = True
        return JSONResponse({"ready": True})

    async def list(self, request: Request) -> Response:
        user = await self._user(request)
        after = _cursor(request.query_params.get("after"))
        async with self._connection() as connection:
            found = await pages.list_pages(connection, user.sub, after)
        last = found[-1] if len(found) == pages.MAX_LISTED else None
        return JSONResponse(
            {"pages": [_json(page) for page in found], "next": _encode_cursor(last) if last else None}
        )

    async def create(self, request: Request) -> Response:
        user = await self._user(request)
        title = _title(await _body(request), default="")
        async with self._connection() as connection:
            page = await pages.create_page(connection, user.sub, title)
        return JSONResponse(_json(page), 201, {"Location": f"{contract.API_PATH}/pages/{page.id}"})

    async def get(self, request: Request) -> Response:
        user = await self._user(request)
        async with self._connection() as connection:
            return JSONResponse(_json(_found(await pages.get_page(connection, user.sub, _page_id(request)))))

    async def rename(self, request: Request) -> Response:
        user = await self._user(request)
        title = _title(await _body(request))
        async with self._connection() as connection:
            page = await pages.rename_page(connection, user.sub, _page_id(request), title)
        return JSONResponse(_json(_found(page)))

    async def delete(self, request: Request) -> Response:
        user = await self._user(request)
        page = _page_id(request)
        async with self._connection() as connection:
            _found(await pages.delete_page(connection, user.sub, page) or None)
        self._access_changed(page)
        return Response(status_code=204)

    async def sharing(self, request: Request) -> Response:
        user = await self._user(request)
        async with self._connection() as connection:
            found = await pages.sharing(connection, user.sub, _page_id(request))
        return JSONResponse(_sharing_json(_found(found)))

    async def share(self, request: Request) -> Response:
        user = await self._user(request)
        page, person = _page_id(request), request.path_params["person"]
        role = _role(await _body(request))
        async with self._connection() as connection:
            if person == EVERYBODY:
                changed = await pages.share_with_everybody(connection, user.sub, page, role)
            else:
                try:
                    changed = await pages.share_with(connection, user.sub, page, person, role)
                except LookupError as error:
                    message = "Nobody else of that id has signed in yet; ask them to."
                    raise ApiError(404, "not_found", message) from error
                except OverflowError as error:
                    raise ApiError(
                        409, "too_many", f"A page may have {pages.MAX_MEMBERS} members."
                    ) from error
        self._access_changed(page)
        return JSONResponse(_sharing_json(_found(changed)))

    async def people(self, request: Request) -> Response:
        await self._user(request)
        email = request.query_params.get("email", "").strip()
        if not email:
            raise ApiError(400, "invalid", "email: say whose id you want to know.")
        async with self._connection() as connection:
            found = await pages.find_person(connection, email)
        return JSONResponse({"people": [asdict(found)] if found else []})

    async def versions(self, request: Request) -> Response:
        user = await self._user(request)
        page = _page_id(request)
        async with self._connection() as connection:
            _found(await pages.get_page(connection, user.sub, page))
            found = await pages.list_versions(connection, page, self._archive_days)
        return JSONResponse(
            {
                "versions": [
                    {"version": each.number, "made_at": each.made_at.isoformat(), "size": each.size}
                    for each in found
                ]
            }
        )

    async def version(self, request: Request) -> Response:
        user = await self._user(request)
        page = _page_id(request)
        number: int = request.path_params["version"]
        async with self._connection() as connection:
            _found(await pages.get_page(connection, user.sub, page))
            found = await pages.get_version(connection, page, min(number, _MOST), self._archive_days)
        if isinstance(found, Place):
            found = await _archived(self._archive, found)
        if found is None:
            raise ApiError(404, "not_found", "There is no such version.")
        # A number always stands for the same text; but whose eyes it is for may change.
        headers = {"Cache-Control": "private, no-store"}
        update = pages.version_update(found)
        return Response(update, media_type="application/octet-stream", headers=headers)

    async def _user(self, request: Request) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ApiError(401, "unauthorized", "Send a token of the user pool: Authorization: Bearer …")
        try:
            user = await self._verifier.authenticate(token.strip())
        except TokenError as error:
            raise ApiError(401, "unauthorized", str(error)) from error
        await self._remember(user)
        return user

    async def _remember(self, user: User) -> None:
        """Notes who that is, so that others can share with them; once as long as nothing changes."""
        person = pages.Person(user.sub, user.email, user.name)
        # An access token says nothing of the address.
        if not user.email or self._remembered.get(user.sub) == person:
            return
        async with self._connection() as connection:
            await pages.remember(connection, person)
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[user.sub] = person

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[pages.Connection]:
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection:
            yield connection


async def _archived(archive: Archive, place: Place) -> list[bytes] | None:
    """A version from S3, with no connection to the database held meanwhile."""
    try:
        updates = await archive.read(place)
    except ArchiveError as error:
        log.error("%s in %s cannot be read: %s", place.key, place.bucket, error)
        message = "This version is in an archive that does not answer. Try again in a moment."
        raise ApiError(503, "unavailable", message) from error
    if updates is None:
        log.error("%s in %s is missing", place.key, place.bucket)
    return updates


def _json(page: pages.Page) -> dict[str, str]:
    return {
        "id": str(page.id),
        "title": page.title,
        "owner": page.owner,
        "role": page.role,
        "created_at": page.created_at.isoformat(),
        "updated_at": page.updated_at.isoformat(),
    }


def _sharing_json(sharing: pages.Sharing) -> dict[str, Any]:
    return {
        "owner": asdict(sharing.owner),
        "everybody": sharing.everybody,
        "members": [{"person": asdict(person), "role": role} for person, role in sharing.members],
    }


def _found(answer: Found | None) -> Found:
    if answer is None:
        raise ApiError(404, "not_found", "There is no such page.")
    return answer


def _page_id(request: Request) -> UUID:
    page: UUID = request.path_params["page"]
    return page


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that the request carries; an empty body is an empty object."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError(413, "too_large", f"A request may carry {MAX_BODY} bytes.")
    if not body:
        return {}
    try:
        data = json.loads(body)
    except ValueError as error:
        raise ApiError(400, "invalid", f"The body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ApiError(400, "invalid", "The body must be a JSON object.")
    return data


def _title(data: dict[str, Any], default: str | None = None) -> str:
    title = data.get("title", default)
    if not isinstance(title, str):
        raise ApiError(400, "invalid", "title: a string is expected.")
    # One line of text: line breaks become spaces; what cannot be shown, or stored (NUL, lone halves of
    # surrogate pairs), is left out.
    title = " ".join("".join(c for c in title if c.isprintable() or c.isspace()).split())
    if len(title) > pages.MAX_TITLE:
        raise ApiError(400, "invalid", f"title: {pages.MAX_TITLE} characters at most, not {len(title)}.")
    return title


def _role(data: dict[str, Any]) -> pages.MemberRole | None:
    match data:
        case {"role": "edit" | "view" | None as role}:
            return role
        case _:
            raise ApiError(400, "invalid", 'role: "edit", "view" or null is expected.')


def _encode_cursor(page: pages.Page) -> str:
    return base64.urlsafe_b64encode(f"{page.updated_at.isoformat()} {page.id}".encode()).decode()


def _cursor(text: str | None) -> pages.Cursor | None:
    if text is None:
        return None
    try:
        time, _, page = base64.urlsafe_b64decode(text).decode().partition(" ")
        return pages.Cursor(datetime.fromisoformat(time), UUID(page))
    except ValueError as error:
        raise ApiError(400, "invalid", "after: give what `next` said.") from error


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


async def _api_error(request: Request, error: ApiError) -> Response:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: _LATER}.get(error.status)
    return _error(error.status, error.code, error.message, headers)


async def _forbidden(request: Request, error: pages.ForbiddenError) -> Response:
    who = "its owner" if error.needs == "owner" else "those who may edit it"
    return _error(403, "forbidden", f"This page may be changed in this way by {who} only.")


async def _http_error(request: Request, error: HTTPException) -> Response:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
    return _error(error.status_code, code, error.detail, dict(error.headers or {}))


async def _database_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        raise error
    log.error("database", extra={"event": "database_error", "path": request.url.path, "error": repr(error)})
    message = "The database does not answer. Nothing was changed; try again in a moment."
    return _error(503, "unavailable", message, _LATER)
