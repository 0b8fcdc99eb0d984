"""The one base of every error that a person is meant to read.

    ZediError
    ├── settings.SettingsError      a file of settings says something that cannot be
    ├── cost.CostError              the cost cannot be computed, or the prices cannot be read
    ├── deploy.DeployError          AWS refused, or a stack is in a state that needs a hand
    ├── image.ImageError            no container engine works, or the image cannot be built or pushed
    ├── embedded.EmbeddedError      a server of the embedded AWS could not be started
    ├── cli.destroy.NotConfirmedError  the environment's name was not said before it was to be destroyed
    └── realtime.ServiceError       the service cannot start with the environment that it was given

An error says where it happened, what is wrong and what to do about it. The command line prints these
three and exits with status 1; any other exception is a defect of ours and shows its traceback.
"""

from __future__ import annotations


class ZediError(Exception):
    """Something went wrong that the reader can mend.

    Args:
        where: the place: a file and key, a phase and resource, a port, a variable.
        what: what is wrong there, with the offending value.
        fix: what to do about it; a command where there is one.
    """

    def __init__(self, where: str, what: str, fix: str) -> None:
        super().__init__(where, what, fix)
        self.where = where
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  {self.fix}"
