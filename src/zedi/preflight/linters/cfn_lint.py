"""cfn-lint, in a process of its own: `Run` starts it, `result` waits for it.

More than half of its time is the import of a computer-algebra system for conditions, whether templates have
any or not; hence once for all templates, at the same time as everything else, and a memory.
https://github.com/aws-cloudformation/cfn-lint
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any, Final

from zedi.errors import ZediError
from zedi.preflight.linters import Remark

NAME: Final = "cfn-lint"
_SECONDS: Final = 120
_REMEMBERED: Final = 512
"""Texts; a few hundred bytes each."""


class LinterError(ZediError):
    """A linter broke down: it said neither yes nor no."""


def installed() -> bool:
    return util.find_spec("cfnlint") is not None


def memory() -> Path:
    """The folder of what was said about texts."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "zedi" / "cfn-lint"


class Run:
    """One look at templates (compact JSON by phase); what it knows already it does not ask about.

    `remembered=False` asks about all of them and keeps nothing.
    """

    def __init__(self, texts: Mapping[str, str], region: str, *, remembered: bool = True) -> None:
        self._keys = {phase: _key(text, region) for phase, text in texts.items()} if remembered else {}
        self._known: dict[str, list[dict[str, Any]]] = {}
        for phase, key in self._keys.items():
            with contextlib.suppress(OSError, ValueError):  # not there, or half-written: asked again
                self._known[phase] = json.loads((memory() / key).read_text("utf-8"))
        asked = {phase: text for phase, text in texts.items() if phase not in self._known}
        self._child: subprocess.Popen[bytes] | None = None
        self._input = json.dumps({"region": region, "templates": asked}).encode()
        if asked:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "zedi.preflight.linters.cfn_lint"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Somebody's .cfnlintrc in the current folder is about other templates.
                cwd=tempfile.gettempdir(),
            )
            # It reads before it writes, so that this neither blocks nor is lost.
            assert self._child.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died: result() tells of what
                self._child.stdin.write(self._input)
                self._child.stdin.close()
            self._child.stdin = None

    def result(self) -> dict[str, list[Remark]]:
        """What it says, by phase. Raises LinterError."""
        said = dict(self._known)
        if self._child is not None:
            try:
                output, errors = self._child.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                self.close()
                raise LinterError(NAME, f"did not end within {_SECONDS} s", _FIX) from None
            if self._child.returncode != 0:
                raise LinterError(NAME, errors.decode("utf-8", "replace").strip()[-400:], _FIX)
            fresh: dict[str, list[dict[str, Any]]] = json.loads(output)
            said |= fresh
            self._remember(fresh)
        return {phase: [Remark(**remark) for remark in remarks] for phase, remarks in said.items()}

    def close(self) -> None:
        """Ends the process, if it still runs."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.communicate()

    def _remember(self, fresh: Mapping[str, Any]) -> None:
        if not self._keys:
            return
        # A machine that keeps nothing, or has no home, is merely slower.
        with contextlib.suppress(OSError):
            folder = memory()
            folder.mkdir(parents=True, exist_ok=True)
            for phase, remarks in fresh.items():
                file = folder / self._keys[phase]
                part = file.with_suffix(f".{os.getpid()}")
                part.write_text(json.dumps(remarks), "utf-8")
                part.replace(file)
            old = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[:-_REMEMBERED]
            for file in old:
                file.unlink(missing_ok=True)


_FIX: Final = "Run `cfn-lint` by hand to see why; leave it out with --no-linters."


def _key(text: str, region: str) -> str:
    said = json.dumps([metadata.version(NAME), _FORM, region, text])
    return hashlib.sha256(said.encode()).hexdigest()


_FORM: Final = 1
"""Of the remarks that are remembered: another number forgets them all."""


def _lint(templates: Mapping[str, str], region: str) -> dict[str, list[dict[str, Any]]]:
    # Nothing here lives long enough for its garbage to matter, and looking for it takes a tenth of the time.
    gc.disable()
    from cfnlint.config import ConfigMixIn
    from cfnlint.decode.decode import decode_str
    from cfnlint.runner import Runner

    runner = Runner(ConfigMixIn([], regions=[region]))
    said: dict[str, list[dict[str, Any]]] = {}
    for phase, text in templates.items():
        template, broken = decode_str(text)
        matches = broken or list(runner.validate_template(template or {}))
        said[phase] = [
            _remark(match).as_data() for match in matches if match.rule.severity != "informational"
        ]
    return said


def _remark(match: Any) -> Remark:
    path = [str(part) for part in getattr(match, "path", None) or []]
    inside = path[3:] if path[:1] == ["Resources"] and path[2:3] == ["Properties"] else []
    return Remark(
        linter=NAME,
        rule=match.rule.id,
        error=match.rule.severity == "error",
        section=path[0] if path else None,
        title=path[1] if len(path) > 1 else None,
        property=".".join(inside) or None,
        message=match.message,
        fix=None,
        source=match.rule.source_url or None,
        line=None,
    )


if __name__ == "__main__":
    request = json.load(sys.stdin)
    json.dump(_lint(request["templates"], request["region"]), sys.stdout)
