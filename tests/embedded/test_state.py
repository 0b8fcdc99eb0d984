"""The state folder: one at a time, private, and clear about what is wrong."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zedi.embedded import EmbeddedError
from zedi.embedded.state import State


def test_second_one_is_told_who_has_the_folder(tmp_path: Path) -> None:
    """A folder that is in use is refused with the number of the process that uses it."""
    first = State(tmp_path / "state")
    with pytest.raises(EmbeddedError, match=rf"another `zedi up` \(process {os.getpid()}\)"):
        State(tmp_path / "state")
    first.close()
    State(tmp_path / "state").close()


def test_killed_run_leaves_no_lock_but_is_noticed(tmp_path: Path) -> None:
    """After a kill the folder can be had at once, and the next run knows to be patient."""
    script = (
        "import os, signal, sys; from pathlib import Path; from zedi.embedded.state import State;"
        "state = State(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "state")])
    assert killed.returncode == -9
    second = State(tmp_path / "state")
    assert second.was_killed
    second.close()
    third = State(tmp_path / "state")
    assert not third.was_killed
    third.close()


def test_what_it_holds_is_private_and_temporary_files_go(tmp_path: Path) -> None:
    """Keys and logs are for the owner alone, and a run's temporary files do not outlive it."""
    state = State(tmp_path / "state")
    for part in (state.aws, state.logs, state.temporary):
        assert stat.S_IMODE(part.stat().st_mode) == 0o700
    (state.temporary / "left").write_text("")
    state.close()
    assert not state.temporary.exists()


def test_folder_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    """A state folder that is a file says so, and says what else can be done."""
    (tmp_path / "state").write_text("")
    with pytest.raises(EmbeddedError, match="cannot be used") as caught:
        State(tmp_path / "state")
    assert "--state" in caught.value.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else's")
def test_folder_of_another_user_is_a_clear_error(open_folder: Path) -> None:
    """An ordinary user is told that the folder is somebody else's, and how to get it."""
    State(open_folder / "state").close()
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            State(open_folder / "state")
        except EmbeddedError as error:
            os._exit(0 if "chown" in error.fix and "cannot be used" in error.what else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
