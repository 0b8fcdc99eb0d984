"""The HTTP API in this process, over a real PostgreSQL, and people who are signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import httpx
import pytest

from zedi.notes.api import Api
from zedi.realtime.access import TokenVerifier
from zedi.realtime.archive import Archive
from zedi.realtime.config import Config

if TYPE_CHECKING:
    from tests.servers import Database, Issuer


@pytest.fixture
def access_changed() -> list[UUID]:
    """The pages of which the API has said that who may open them has changed."""
    return []


@pytest.fixture
async def sign_in(
    database: Database, config: Config, issuer: Issuer, access_changed: list[UUID]
) -> AsyncIterator[Callable[[str], httpx.AsyncClient]]:
    """Signs somebody in: `sign_in("hanako")` is a client that carries her ID token."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(min_size=0, max_size=3, **database.address.options())
        )
        archive = Archive(config.keeping.region)
        stack.callback(archive.close)
        api = Api(pool, TokenVerifier(config), access_changed.append, archive, 365).application()

        def signed_in(sub: str) -> httpx.AsyncClient:
            token = issuer.token(sub=sub, email=f"{sub}@example.com", name=sub.title())
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app=api, raise_app_exceptions=False),
                base_url="http://test",
                headers={"Authorization": f"Bearer {token}"},
            )
            stack.push_async_callback(client.aclose)
            return client

        yield signed_in
