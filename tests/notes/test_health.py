"""Health without a database of its own: who is asked, and how often."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx

from zedi import schema
from zedi.notes.api import Api


class Pool:
    """A pool whose database is away, then there; it counts who asks."""

    def __init__(self) -> None:
        self.away = True
        self.asked = 0

    @contextlib.asynccontextmanager
    async def acquire(self, **options: float) -> AsyncIterator[Pool]:
        self.asked += 1
        if self.away:
            raise ConnectionRefusedError("nobody listens")
        yield self

    async def fetch(self, query: str) -> list[dict[str, str]]:
        return [{"name": name} for name, _ in schema._files()]


async def test_health_lets_the_database_sleep() -> None:
    """503 until the database has answered once; from then on 200, and nobody asks it for health's sake."""
    pool = Pool()
    nothing = cast(Any, None)
    app = Api(cast(Any, pool), nothing, lambda page: None, nothing, 0).application()
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/health")).status_code == 503
        pool.away = False
        assert (await client.get("/health")).status_code == 200
        pool.away, asked = True, pool.asked
        for _ in range(3):
            answer = await client.get("/health")
            assert (answer.status_code, answer.json()["ready"]) == (200, True)
        assert pool.asked == asked == 2
