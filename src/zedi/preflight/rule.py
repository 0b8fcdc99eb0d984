"""A rule: what it is called, why it is there, and the function that looks for it.

A file in `rules/` or `live/` declares its rules with the decorators below, and that is all there is to do:
every module of those two folders is read. The function yields a Problem for each place; the rule adds the
rest. Rules are numbered by phase (Z1.. networking to Z7.. monitoring, Z0.. any), live ones from x50 on.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from zedi.preflight.finding import Severity

if TYPE_CHECKING:
    from zedi.preflight.live import Account
    from zedi.preflight.subject import Resource, Subject

ERROR: Final = Severity.ERROR
WARNING: Final = Severity.WARNING
INFO: Final = Severity.INFO


@dataclass(frozen=True)
class Problem:
    """One place where a rule does not hold.

    Args:
        what: is wrong, with the value.
        resource: whose property it is, or None: it is about a key, a phase, or everything.
        property: the path in the resource's properties.
        phase: where there is no resource.
        key: of the settings; only where no property shows it, else it is found by itself.
        fix: where there is a better one here than the rule's own.
        rivals: other properties that can be changed instead. Where the key of one of them stands in the file
            and this one's is a default, somebody wrote that one, and it is shown.
    """

    what: str
    resource: Resource | None = None
    property: str | None = None
    phase: str | None = None
    key: str | None = None
    fix: str | None = None
    rivals: tuple[tuple[Resource, str], ...] = ()


OfflineCheck = Callable[["Subject"], Iterator[Problem]]
LiveCheck = Callable[["Subject", "Account"], Iterator[Problem]]


@dataclass(frozen=True)
class Rule:
    """Args:
    id: unique; what `--ignore` takes.
    title: a few words.
    severity: of every finding.
    why: what AWS does about it, or what it costs.
    fix: what to do.
    source: a page that says so.
    check: the function that looks.
    live: whether that function asks AWS.
    covers: rules of the linters that say the same; on one resource ours is shown in their place.
    settled_by: the live rule that knows what this one can only guess; when that one could ask, this one
        is silent.
    says: patterns of what AWS itself says when it refuses for this reason.
    """

    id: str
    title: str
    severity: Severity
    why: str
    fix: str
    source: str
    check: Callable[..., Iterator[Problem]]
    live: bool = False
    covers: tuple[str, ...] = ()
    settled_by: str | None = None
    says: tuple[str, ...] = ()


def _declare(live: bool, id: str, title: str, severity: Severity, **rest: Any) -> Callable[[Any], Any]:
    def declare(check: Any) -> Any:
        check.rule = Rule(id, title, severity, check=check, live=live, **rest)
        return check

    return declare


def offline(
    id: str,
    title: str,
    severity: Severity,
    *,
    why: str,
    fix: str,
    source: str,
    covers: tuple[str, ...] = (),
    settled_by: str | None = None,
    says: tuple[str, ...] = (),
) -> Callable[[OfflineCheck], OfflineCheck]:
    """Declares a rule that looks at settings and templates."""
    return _declare(
        False,
        id,
        title,
        severity,
        why=why,
        fix=fix,
        source=source,
        covers=covers,
        settled_by=settled_by,
        says=says,
    )


def live(
    id: str,
    title: str,
    severity: Severity,
    *,
    why: str,
    fix: str,
    source: str,
    says: tuple[str, ...] = (),
) -> Callable[[LiveCheck], LiveCheck]:
    """Declares a rule that asks AWS."""
    return _declare(True, id, title, severity, why=why, fix=fix, source=source, says=says)


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule, by ID."""
    found: dict[str, Rule] = {}
    for package in ("zedi.preflight.rules", "zedi.preflight.live"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            for value in vars(importlib.import_module(f"{package}.{module.name}")).values():
                declared = getattr(value, "rule", None)
                if isinstance(declared, Rule) and found.setdefault(declared.id, declared) is not declared:
                    raise RuntimeError(f"two rules are called {declared.id}")
    return tuple(found[id] for id in sorted(found))
