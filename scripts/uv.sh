# Sourced by the other scripts: after it, `uv` runs, and $PYTHON is a Python that is new enough.
# uv is taken from the machine, or from .boot/, where pip puts it without touching anything else.

UV_VERSION=0.13.9

die() {
    printf 'zedi: %s\n' "$@" >&2
    exit 1
}

python_is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if python_is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

PYTHON=$(find_python) || die "no Python 3.11 or newer was found." \
    "  Install one (Debian: apt-get install python3), or name it: make install PYTHON=/path/to/python3"

install_uv() {
    mkdir -p .boot
    if "$PYTHON" -m pip --version >/dev/null 2>&1; then
        PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -m pip install --quiet --no-warn-script-location \
            --root-user-action ignore --upgrade --target .boot "uv==$UV_VERSION"
    elif "$PYTHON" -m venv .boot/venv >/dev/null 2>&1; then
        .boot/venv/bin/python -m pip install --quiet "uv==$UV_VERSION"
        mkdir -p .boot/bin
        ln -sf ../venv/bin/uv .boot/bin/uv
    elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        rm -rf .boot/venv
        apt-get install -y -qq python3-pip >/dev/null || { apt-get update -qq && apt-get install -y -qq python3-pip; }
        install_uv
    else
        die "$PYTHON has neither pip nor venv, so nothing can be installed." \
            "  Install one of them (Debian: apt-get install python3-pip), or put uv on the PATH."
    fi
}

if ! command -v uv >/dev/null 2>&1; then
    PATH="$PWD/.boot/bin:$PATH"
    if ! command -v uv >/dev/null 2>&1; then
        printf 'zedi: installing uv %s into .boot/\n' "$UV_VERSION"
        install_uv
    fi
fi
# The interpreter is the machine's: uv must not go looking for another one to download.
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
