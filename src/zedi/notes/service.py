"""The process around the API: connections, migrations, one log line a request, signals.

It starts whether the database is there or not; until it is, `/health` says 503 and calls are answered with
503, and both change by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zedi import contract
from zedi.notes.api import Api
from zedi.realtime import fanout
from zedi.realtime.access import TokenVerifier
from zedi.realtime.archive import Archive
from zedi.realtime.config import Config
from zedi.realtime.log import Log, LogHandler
from zedi.schema import migrate

_CONNECTIONS = 5
_IDLE_SECONDS = 60.0
"""Idle connections are given up: an open one keeps a database that could sleep awake."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


async def serve(config: Config) -> None:
    """Serves until SIGTERM or SIGINT. Raises ServiceError when the key set cannot be used."""
    log = Log(os.urandom(8).hex(), config.environment)
    logging.basicConfig(handlers=[LogHandler(log)], level=logging.WARNING)
    pool = asyncpg.create_pool(
        min_size=0,
        max_size=_CONNECTIONS,
        max_inactive_connection_lifetime=_IDLE_SECONDS,
        **config.database.options(),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with pool:
            migrating = asyncio.create_task(_migrate(config, log))
            log.event("listening", address=config.bind_address, port=config.port)
            yield
            migrating.cancel()
            await asyncio.gather(migrating, return_exceptions=True)
            await announcer.close()
            archive.close()

    archive = Archive(config.keeping.region)
    announcer = Announcer(config.redis_url, log)
    api = Api(pool, TokenVerifier(config), announcer.access_changed, archive, config.keeping.bucket_days)
    application = api.application(lifespan)
    server = uvicorn.Server(
        uvicorn.Config(
            RequestLog(application, log),
            host=config.bind_address,
            port=config.port,
            loop="none",  # the caller's
            log_config=None,
            access_log=False,
            server_header=False,
            # The load balancer and the edge are the only ones that talk to us.
            proxy_headers=True,
            forwarded_allow_ips="*",
            # Longer than the load balancer's idle timeout, which must be the one that closes.
            timeout_keep_alive=310,
            timeout_graceful_shutdown=max(1, int(config.drain_seconds)),
        )
    )
    await server.serve()


async def _migrate(config: Config, log: Log) -> None:
    """Brings the tables up to date as soon as the database answers."""
    pause, told = _FIRST_PAUSE, False
    while True:
        try:
            for name in await migrate(config.database.options()):
                log.event("migrated", file=name)
            return
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not told:
                log.event("database_away", level="error", reason=f"{type(error).__name__}: {error}")
                told = True
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


class Announcer:
    """Tells the realtime tasks that who may open a page has changed, so that they ask again at once.

    A message that Redis loses is no harm: they also ask from time to time.
    """

    def __init__(self, url: str, log: Log) -> None:
        self._redis = fanout.client(url)
        self._task = os.urandom(fanout.TASK_ID_BYTES)
        self._log = log
        self._telling: set[asyncio.Task[None]] = set()

    def access_changed(self, page: UUID) -> None:
        telling = asyncio.create_task(self._tell(str(page)))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._telling)
        await self._redis.aclose()

    async def _tell(self, document: str) -> None:
        try:
            await fanout.announce_access(self._redis, self._task, document)
        except fanout.AWAY as error:
            self._log.event("redis_away", level="warning", reason=f"{type(error).__name__}: {error}")


class RequestLog:
    """One line a request: method, path, status, seconds. Health checks that succeed are left out."""

    def __init__(self, application: ASGIApp, log: Log) -> None:
        self._application = application
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began = time.monotonic()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, sending)
        finally:
            health = scope["path"] == contract.HEALTH_PATH
            if not health or status >= 400:
                self._log.event(
                    "request",
                    # A task that is not ready yet is no error.
                    level="info" if status < 500 else "warning" if health else "error",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    duration=round(time.monotonic() - began, 4),
                )
