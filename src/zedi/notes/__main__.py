"""`python -m zedi.notes`: the HTTP API, with the environment of `zedi.contract`."""

from __future__ import annotations

import os
import sys

import uvloop

from zedi.errors import ZediError
from zedi.notes.service import serve
from zedi.realtime.config import parse


def main() -> int:
    try:
        uvloop.run(serve(parse(os.environ)))
    except ZediError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
