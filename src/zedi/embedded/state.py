"""The folder that holds everything the embedded AWS keeps. One `zedi up` at a time has it.

lock            held (flock) while a `zedi up` runs; its text is the process's ID
aws/            what the AWS API keeps: stacks, users, secrets, the front end's bucket
postgres/       PostgreSQL's data; postgres.password is its superuser's
logs/           one file a child, and .1 from the run before
tmp/            temporary files of all children, emptied at the start
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from zedi.embedded import EmbeddedError


class State:
    """The state folder, locked. Leaves no lock behind however its process ends.

    Raises EmbeddedError when another process has the folder, or when it may not be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.aws = self.folder / "aws"
        self.postgres = self.folder / "postgres"
        self.postgres_password = self.folder / "postgres.password"
        self.logs = self.folder / "logs"
        self.temporary = self.folder / "tmp"
        self.was_killed = False
        """The run before did not end by itself: its children may still be about to end."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            shutil.rmtree(self.temporary, ignore_errors=True)
            for part in (self.aws, self.logs, self.temporary):
                # Private: the AWS API keeps signing keys and secrets, the logs hold people's titles.
                part.mkdir(mode=0o700, exist_ok=True)
                if not os.access(part, os.W_OK | os.X_OK):
                    raise PermissionError(f"{part} belongs to another user")
        except OSError as error:
            raise EmbeddedError(
                str(self.folder),
                f"the state folder cannot be used: {error}",
                "Run as the user that it belongs to, name another folder with --state, or give it to"
                f" yourself: sudo chown -R $(id -u) {self.folder}",
            ) from error

    def _locked(self) -> int:
        file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise EmbeddedError(
                str(self.folder),
                f"another `zedi up` (process {holder}) is using this folder",
                f"Stop that one (kill {holder}), or name another folder with --state.",
            ) from None
        self.was_killed = bool(os.pread(file, 1, 0))
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode("ascii"), 0)
        return file

    def close(self) -> None:
        """Gives the folder back. To be called when every child has ended."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)
