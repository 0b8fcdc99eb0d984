"""What is measured. A scenario takes the stage, does its measurements on both sides in turn, returns data.

Every measurement has servers and a database of its own, so nothing of an earlier one is in it; the sides take
turns (ours, peer, ours, peer), so what changes on the machine meanwhile meets both. What is broken (an edit
that a replica did not get, or that was not acknowledged) raises BenchError, except where a server is pushed
beyond what it can do.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pycrdt

from bench import edits
from bench.load import Group, Job, Result
from bench.stage import KINDS, BenchError, Database, Kind, Server, Stage

PAGES: Final = 20
CLIENTS: Final = 20
LOADS: Final = (5.0, 10.0, 20.0, 40.0)
"""Edits a second of each client."""
SLOWEST: Final = 0.100
"""Seconds of the p99 up to which a load counts as borne."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Measurement:
    """One job on one side. `load` tells measurements of a scenario apart: edits a second, clients."""

    kind: Kind
    load: float
    result: Result

    @property
    def cpu_per_edit(self) -> float:
        """Seconds of the servers' processor time for each edit."""
        return self.result.server_cpu / self.result.edits


@dataclass(frozen=True)
class Capacity:
    """The greatest load that was borne in one round."""

    kind: Kind
    edits_per_second: float
    steps: list[Measurement]


@dataclass(frozen=True)
class Kills:
    """What SIGKILL has cost one side. Numbers of edits, over all kills."""

    kind: Kind
    kills: int
    acknowledged: int
    lost: int
    """Acknowledged, and not there after the restart."""


@asynccontextmanager
async def _served(
    stage: Stage, kind: Kind, database: Database | None = None, tasks: int = 1
) -> AsyncIterator[tuple[Database, list[Server]]]:
    database = database or await stage.database()
    servers: list[Server] = []
    try:
        for _ in range(tasks):
            servers.append(await stage.start(kind, database, redis=tasks > 1))
        yield database, servers
    finally:
        await stage.stop(*servers)


def _pids(servers: Sequence[Server]) -> list[int]:
    return [server.pid for server in servers]


def _checked(kind: Kind, what: str, result: Result) -> Result:
    if result.missing or result.unacknowledged:
        raise BenchError(
            f"{kind}, {what}",
            f"{result.missing} edits did not reach a replica, {result.unacknowledged} were not acknowledged",
            "Look at the server's log (--keep); no figure of a server that loses edits is worth anything.",
        )
    return result


async def fan_out(
    stage: Stage,
    tell: Tell,
    *,
    rounds: int,
    seconds: float,
    warm: float,
    loads: Sequence[float] = LOADS,
) -> list[Measurement]:
    """20 pages with 20 clients each, everybody typing: processor time an edit, latency, memory."""
    measured: list[Measurement] = []
    for load, _, kind in itertools.product(loads, range(rounds), KINDS):
        async with _served(stage, kind) as (database, servers):
            job = Job(
                kind="typing",
                documents=await database.pages(PAGES),
                groups=[Group(servers[0].url, CLIENTS, load)],
                tokens=[],
                servers=_pids(servers),
                seconds=seconds,
                warm=warm,
                warm_rate=20.0,
                # A server that cannot keep up is to be seen in its latency, so it may take its time.
                drain=60.0,
            )
            result = _checked(kind, f"{load:g} edits/s", await stage.load(job))
        measured.append(each := Measurement(kind, load, result))
        tell(_told(f"fan-out {load:g}/s", each))
    return measured


async def capacity(stage: Stage, tell: Tell, *, rounds: int, seconds: float) -> list[Capacity]:
    """20 pages with 20 clients each, faster and faster, until p99 exceeds 100 ms or edits stay away."""
    return [each for _ in range(rounds) for each in await _capacity(stage, tell, seconds)]


async def _capacity(
    stage: Stage, tell: Tell, seconds: float, first: float = 5.0, factor: float = 1.25, steps: int = 18
) -> list[Capacity]:
    """Both sides take each step in turn, with fresh servers, until one is at its end; the other goes on."""
    borne: dict[Kind, list[Measurement]] = {kind: [] for kind in KINDS}
    best: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)
    open_: list[Kind] = list(KINDS)
    for step in range(steps):
        load = round(first * factor**step, 1)
        for kind in list(open_):
            async with _served(stage, kind) as (database, servers):
                job = Job(
                    kind="typing",
                    documents=await database.pages(PAGES),
                    groups=[Group(servers[0].url, CLIENTS, load)],
                    tokens=[],
                    servers=_pids(servers),
                    seconds=seconds,
                    warm=1.5,
                    warm_rate=20.0,
                    drain=10.0,
                )
                result = await stage.load(job)
            borne[kind].append(each := Measurement(kind, load, result))
            tell(_told(f"capacity {load:g}/s", each))
            if result.missing or result.unacknowledged or result.p99 > SLOWEST:
                open_.remove(kind)
            else:
                best[kind] = result.edits / seconds
    return [Capacity(kind, best[kind], borne[kind]) for kind in KINDS]


async def idle(
    stage: Stage, tell: Tell, *, rounds: int, sockets: int = 1000, pages: int = 100, seconds: float = 3.0
) -> list[Measurement]:
    """Sockets that do nothing, each on one of the documents: memory."""
    measured: list[Measurement] = []
    for _, kind in itertools.product(range(rounds), KINDS):
        async with _served(stage, kind) as (database, servers):
            job = Job(
                kind="idle",
                documents=await database.pages(pages),
                groups=[Group(servers[0].url, sockets // pages, 0.0)],
                tokens=[],
                servers=_pids(servers),
                seconds=seconds,
            )
            result = await stage.load(job)
        measured.append(each := Measurement(kind, sockets, result))
        tell(
            f"idle: {kind}: {result.rss / 1e6:.1f} MB resident ({result.pss / 1e6:.1f} MB with its share"
            f" of what is shared), {each.load:g} sockets"
        )
    return measured


@dataclass(frozen=True)
class LongDocument:
    """A document of many small edits, as each side keeps it."""

    updates: list[bytes]
    whole: bytes
    """The document encoded from one replica."""
    vector: dict[str, int]
    """How much of each author is in it."""


def long_document(count: int = 230_000, authors: int = 50) -> LongDocument:
    """6 MB where count is 230,000."""
    updates = list(edits.grown(count, authors, seed=7))
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    with doc.transaction():
        for update in updates:
            doc.apply_update(update)
    counts: dict[str, int] = {}
    for update in updates:
        for client, _, end in edits.spans(update):
            counts[str(client)] = end
    return LongDocument(updates, doc.get_update(), counts)


async def join(
    stage: Stage, tell: Tell, *, rounds: int, crowds: Sequence[int] = (150, 30), count: int = 230_000
) -> list[Measurement]:
    """Many clients join one long document at once, which nobody has open: time to their Step2, memory."""
    tell(f"making a document of {count} edits")
    document = long_document(count)
    measured: list[Measurement] = []
    for crowd, _, kind in itertools.product(crowds, range(rounds), KINDS):
        database = await stage.database()
        [page] = await database.pages(1)
        await _stored(database, page, kind, document)
        async with _served(stage, kind, database) as (_, servers):
            job = Job(
                kind="join",
                documents=[page],
                groups=[Group(servers[0].url, crowd, 0.0)],
                tokens=[],
                servers=_pids(servers),
            )
            result = await stage.load(job)
        if result.state[page] != document.vector:
            raise BenchError(
                f"{kind}, join", "a client was told that it has all, and has not", "See the log (--keep)."
            )
        result.state = {}
        measured.append(Measurement(kind, crowd, result))
        tell(
            f"join: {kind}: {crowd} clients, p99 {result.p99:.2f} s, peak {result.peak / 1e6:.0f} MB,"
            f" each got {result.received / 1e6:.1f} MB"
        )
    return measured


async def _stored(database: Database, page: str, kind: Kind, document: LongDocument) -> None:
    connection = await database.connect()
    try:
        if kind == "peer":
            await connection.execute(
                "INSERT INTO peer_documents (name, data) VALUES ($1, $2)", page, document.whole
            )
            return
        await connection.execute(
            "INSERT INTO documents (name, seq) VALUES ($1, $2)", page, len(document.updates)
        )
        await connection.copy_records_to_table(
            "updates",
            records=[(page, number, update) for number, update in enumerate(document.updates, 1)],
            columns=["document", "seq", "data"],
        )
    finally:
        await connection.close()


async def kill(
    stage: Stage, tell: Tell, *, after: Sequence[float] = (4.0, 8.0, 12.0), rate: float = 10.0
) -> list[Kills]:
    """SIGKILL under load, several times: what the restarted server still has of what it acknowledged."""
    lost: dict[Kind, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
    for seconds, kind in itertools.product(after, KINDS):
        async with _served(stage, kind) as (database, [server]):
            documents = await database.pages(5)
            group = Group(server.url, CLIENTS, rate)
            job = Job("kill", documents, [group], [], [], seconds=seconds, victim=server.pid)
            told = (await stage.load(job)).acknowledged
            await stage.restarted(server)
            job = Job("state", documents, [Group(server.url, 1, 0.0)], [], [])
            state = (await stage.load(job)).state
        acknowledged = sum(sum(authors.values()) for authors in told.values())
        gone = sum(
            max(0, count - state[document].get(author, 0))
            for document, authors in told.items()
            for author, count in authors.items()
        )
        lost[kind].append((acknowledged, gone))
        tell(f"kill: {kind}: after {seconds:g} s, {gone} of {acknowledged} acknowledged edits lost")
    return [
        Kills(kind, len(lost[kind]), sum(each[0] for each in lost[kind]), sum(each[1] for each in lost[kind]))
        for kind in KINDS
    ]


async def task_to_task(
    stage: Stage, tell: Tell, *, rounds: int, seconds: float, rate: float = 5.0
) -> list[Measurement]:
    """20 pages, 5 authors of each at one task, 5 readers at another: latency through Redis."""
    measured: list[Measurement] = []
    for _, kind in itertools.product(range(rounds), KINDS):
        async with _served(stage, kind, tasks=2) as (database, servers):
            job = Job(
                kind="typing",
                documents=await database.pages(PAGES),
                groups=[Group(servers[0].url, 5, rate, timed=False), Group(servers[1].url, 5, 0.0)],
                tokens=[],
                servers=_pids(servers),
                seconds=seconds,
                warm=2.0,
                warm_rate=20.0,
            )
            result = _checked(kind, "task to task", await stage.load(job))
        measured.append(each := Measurement(kind, rate, result))
        tell(_told("task to task", each))
    return measured


def _told(what: str, each: Measurement) -> str:
    result = each.result
    broken = f", {result.missing} missing" if result.missing else ""
    databases = ", ".join(
        f"{name} {seconds / result.window:.0%}" for name, seconds in result.database_cpu.items()
    )
    return (
        f"{what}: {each.kind}: {each.cpu_per_edit * 1e6:.0f} µs/edit,"
        f" p50 {result.p50 * 1e3:.1f} ms, p99 {result.p99 * 1e3:.1f} ms, peak {result.peak / 1e6:.0f} MB"
        f" (generator {result.generator_cpu / result.window:.0%}, {databases},"
        f" sent late by {result.lag_p99 * 1e3:.1f} ms){broken}"
    )
