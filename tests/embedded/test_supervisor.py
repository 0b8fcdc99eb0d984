"""Children: none outlives us, none ends unnoticed, and all of them stop within their bounds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from zedi.embedded import EmbeddedError
from zedi.embedded.state import State
from zedi.embedded.supervisor import Program, Supervisor

ENVIRONMENT = {"PATH": os.defpath}


def there(path: Path | str) -> bool:
    return os.path.exists(path)  # Path.exists raises when a process ends just now (ESRCH)


def number_in(path: Path | str) -> int:
    return int(Path(path).read_text())


def shell(name: str, script: str, ready: Path | None = None) -> Program:
    """A shell script as a program, ready when a file is there."""

    async def is_ready() -> bool:
        return ready is None or there(ready)

    return Program(name, ("/bin/sh", "-c", script), ENVIRONMENT, is_ready, ready_seconds=10.0)


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_started_program_is_ready_and_its_output_is_kept(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """start waits for readiness, and what the child prints is in its log."""
    sign = tmp_path / "sign"
    await supervisor.start(shell("a", f"echo hello; sleep 0.1; touch {sign}; exec sleep 100", sign))
    assert sign.exists()
    assert supervisor.last_words("a") == ["hello"]


async def test_log_of_the_run_before_is_kept_once(state: State, tmp_path: Path) -> None:
    """A new run begins a new log and keeps the one before beside it."""
    for word in ("one", "two", "three"):
        children = Supervisor(state.logs, print)
        sign = tmp_path / word
        await children.start(shell("a", f"echo {word}; touch {sign}; exec sleep 100", sign))
        await children.stop_all()
    assert (state.logs / "a.log").read_text() == "three\n"
    assert (state.logs / "a.log.1").read_text() == "two\n"
    assert len(list(state.logs.iterdir())) == 2


async def test_program_that_ends_before_it_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    """Its status and last words are the error."""
    with pytest.raises(
        EmbeddedError, match=r"ended with status 3 before it was ready\n    no luck"
    ) as caught:
        await supervisor.start(shell("a", "echo no luck; exit 3", tmp_path / "never"))
    assert caught.value.where == "a"
    assert str(supervisor.log("a")) in caught.value.fix


async def test_program_that_is_never_ready_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    """Waiting is bounded, and what was waited for does not stay."""
    program = replace(shell("a", f"echo $$ > {tmp_path}/pid; exec sleep 100", tmp_path / "never"))
    with pytest.raises(EmbeddedError, match=r"was not ready after 0\.5 s"):
        await supervisor.start(replace(program, ready_seconds=0.5))
    assert not there(f"/proc/{number_in(tmp_path / 'pid')}")


async def test_program_that_does_not_exist(supervisor: Supervisor) -> None:
    """What cannot be started is an error that shows the command."""
    program = replace(shell("a", ""), command=("/no/such/program",))
    with pytest.raises(EmbeddedError, match="cannot be started"):
        await supervisor.start(program)


async def test_program_that_dies_is_told_and_started_again(
    supervisor: Supervisor, told: list[str], tmp_path: Path
) -> None:
    """The message has its name, its end and its last words; then it is back under a new number."""
    sign = tmp_path / "sign"
    await supervisor.start(shell("a", f"echo started; touch {sign}; exec sleep 100", sign))
    first = supervisor.process_id("a")
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: "a is back" in told)
    assert told[0].startswith("a was ended by SIGKILL; starting it again in ")
    assert "started" in told[0]
    assert supervisor.process_id("a") != first


async def test_program_that_keeps_dying_is_given_more_time(
    supervisor: Supervisor, told: list[str], tmp_path: Path
) -> None:
    """The pauses between the starts grow."""
    await supervisor.start(shell("a", "exit 1"))
    await eventually(lambda: len([line for line in told if "starting it again" in line]) >= 3)
    pauses = [line.split(" in ")[1].split(" s")[0] for line in told if "starting it again" in line]
    assert pauses[:3] == ["0.5", "1", "2"]


async def test_stop_asks_first_and_kills_after_its_time(
    supervisor: Supervisor, told: list[str], tmp_path: Path
) -> None:
    """A child may end by itself; one that does not, and what it has started, is killed."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    await supervisor.start(
        shell(
            "good", f"trap 'touch {good}.end; exit 0' TERM; touch {good}; while :; do sleep 0.05; done", good
        )
    )
    stubborn = shell("bad", f"trap '' TERM; sleep 100 & echo $! > {bad}.pid; touch {bad}; wait; wait", bad)
    await supervisor.start(replace(stubborn, stop_seconds=0.2))
    grandchild = number_in(f"{bad}.pid")
    await supervisor.stop("good", "bad", "unknown")
    assert there(f"{good}.end")
    assert told == ["bad did not stop within 0.2 s: killed"]
    await eventually(lambda: not there(f"/proc/{grandchild}"))


async def test_run_waits_for_the_end(supervisor: Supervisor, tmp_path: Path) -> None:
    """run is for what comes to an end; a failure is an error with its last words."""
    await supervisor.run(shell("a", f"touch {tmp_path}/done"))
    assert (tmp_path / "done").exists()
    with pytest.raises(EmbeddedError, match=r"ended with status 2\n    oh"):
        await supervisor.run(shell("b", "echo oh; exit 2"))


async def test_child_inherits_nothing(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is the program's and no more; it is in a group of its own."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    await supervisor.run(shell("a", "exec env"))
    assert {line.split("=")[0] for line in supervisor.last_words("a")} <= {
        "PATH",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
    }
    await supervisor.start(shell("b", "exec sleep 100"))
    assert os.getpgid(supervisor.process_id("b")) == supervisor.process_id("b") != os.getpgid(0)


async def test_children_are_started_by_the_main_thread_only(supervisor: Supervisor) -> None:
    """Linux ends a child with the thread that started it, so another thread is refused."""
    problems: list[str] = []

    def elsewhere() -> None:
        try:
            asyncio.run(supervisor.start(shell("a", "exec sleep 100")))
        except RuntimeError as error:
            problems.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert problems == ["children must be started from the main thread"]


PARENT = """
import asyncio, os, sys
from pathlib import Path
from zedi.embedded.supervisor import Program, Supervisor

async def main():
    async def ready():
        return True
    children = Supervisor(Path(sys.argv[1]), print)
    for number in range(5):
        await children.start(Program(f"c{number}", ("/bin/sleep", "1000"), {"MARK": sys.argv[1]}, ready))
    print("up", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_killed_parent_leaves_nobody(
    tmp_path: Path,
    processes_with: Callable[[str], dict[int, str]],
    until: Callable[..., float],
) -> None:
    """Two seconds after SIGKILL to us no child is left."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"up\n"
    assert len(processes_with(str(tmp_path))) == 6
    parent.kill()
    parent.communicate()
    until(lambda: not processes_with(str(tmp_path)), 2.0, lambda: processes_with(str(tmp_path)))


def test_child_of_a_parent_that_is_gone_already_ends(state: State) -> None:
    """Where we end between fork and prctl, the child finds another parent and ends by itself."""
    enter = Supervisor(state.logs, print)._entry(shell("a", ""), parent=os.getpid() + 1)
    child = os.fork()
    if child == 0:
        enter()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 126
