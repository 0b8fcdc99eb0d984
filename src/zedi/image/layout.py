"""What the image adds to its base, laid out below a folder as it stands below / in the image.

    python layout.py packages ROOT ARCHITECTURE     the packages of requirements-service.lock, and compiled
                                                    code for Python's own library, which the base leaves out
    python layout.py service ROOT                   our own code

The Dockerfile's first stage runs this, where nothing of Zedi is installed; so it is one file that imports
nothing but Python's own library. Both trees depend on the repository's content alone: file times are all
`MODIFIED`, so an unchanged tree is the layer that was pushed before.

Packages come as wheels for ARCHITECTURE, whichever the machine's own is, and compiled code is the same for
all: an image for Arm is made on x86 without emulating anything.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

LOCK: Final = "requirements-service.lock"
SITE: Final = "/opt/zedi"
"""Where packages and our own code are in the image; the Dockerfile's PYTHONPATH."""
SERVICE: Final = ("__init__.py", "contract.py", "errors.py", "notes", "realtime", "schema")
"""The rooms of src/zedi that the service is made of."""
MODIFIED: Final = 315_532_800
"""1980-01-01: the time of every file."""

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""What container engines call an architecture, and what wheels do."""
_GLIBC: Final = range(17, 37)
"""Minor versions of glibc 2 whose wheels are taken: up to that of Debian 12."""
_NOT_COMPILED: Final = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter"}
)
"""Parts of Python's own library that no service imports."""


def packages(root: Path, architecture: str) -> None:
    """Installs the locked packages, by their hashes, for `architecture` (amd64 or arm64).

    Raises subprocess.CalledProcessError when pip cannot; it has said why by then.
    """
    machine = _MACHINES[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in reversed(_GLIBC)]
    site = _below(root, SITE)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--root-user-action", "ignore"]
    # Nothing is built here: what is not a wheel for this architecture is an error.
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile"]
    command += ["--implementation", "cp", *(f"--platform={platform}" for platform in platforms)]
    command += [f"--platform=manylinux2014_{machine}", "--target", str(site), "--requirement", LOCK]
    subprocess.run(command, check=True)
    shutil.rmtree(site / "bin", ignore_errors=True)  # commands that name this machine's Python
    library = Path(sysconfig.get_path("stdlib"))
    for source in sorted(library.rglob("*.py")):
        if _NOT_COMPILED.isdisjoint(source.relative_to(library).parts):
            _compile(source, str(source), _below(root, importlib.util.cache_from_source(str(source))))
    _finish(root)


def service(root: Path) -> None:
    """Copies our own code and compiles it."""
    package = _below(root, SITE) / "zedi"
    package.mkdir(parents=True)
    for name in SERVICE:
        source = Path("src/zedi", name)
        if source.is_dir():
            shutil.copytree(source, package / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, package / name)
    _finish(root)


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _compile(source: Path, name: str, target: Path) -> None:
    # Unchecked: the file system is read-only, so what was compiled is what is there.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(str(source), str(target), name, doraise=True, invalidation_mode=mode)
    except py_compile.PyCompileError as error:
        # Packages may carry files for Pythons to come; importing them would fail the same way.
        print(f"not compiled: {name}: {error.exc_type_name}", file=sys.stderr)


def _finish(root: Path) -> None:
    """Compiles what is not compiled, lets everybody read and nobody else write, and sets every time."""
    site = _below(root, SITE)
    for source in sorted(site.rglob("*.py")):
        target = Path(importlib.util.cache_from_source(str(source)))
        _compile(source, f"/{source.relative_to(root)}", target)
    for path in (root, *root.rglob("*")):
        program = path.is_dir() or path.suffix == ".so"
        path.chmod(0o755 if program else 0o644)
        os.utime(path, (MODIFIED, MODIFIED))


def main(arguments: list[str]) -> int:
    match arguments:
        case ["packages", root, architecture] if architecture in _MACHINES:
            packages(Path(root), architecture)
        case ["service", root]:
            service(Path(root))
        case _:
            print("layout.py packages ROOT amd64|arm64, or layout.py service ROOT", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
