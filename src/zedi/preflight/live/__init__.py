"""The rules that ask AWS, and what they ask through. One file a matter; every file here is read.

All of them only read. What one is not allowed to ask is said once, for all of them (run.py).
"""

from __future__ import annotations

from typing import Any, Protocol


class Account(Protocol):
    """Where to ask; deploy.target.Target is one."""

    @property
    def region(self) -> str: ...

    @property
    def account(self) -> str:
        """The account's twelve digits."""
        ...

    def client(self, service: Any, /) -> Any:
        """The boto3 client of a service."""
        ...
