"""`python -m zedi.realtime`: the realtime service, with the environment of `zedi.contract`."""

from __future__ import annotations

import logging
import os
import sys

import uvloop

from zedi.errors import ZediError
from zedi.realtime.config import parse
from zedi.realtime.log import LogHandler
from zedi.realtime.server import Service


async def _serve() -> None:
    service = Service(parse(os.environ))
    logging.basicConfig(handlers=[LogHandler(service.log)], level=logging.WARNING)
    await service.run()


def main() -> int:
    try:
        uvloop.run(_serve())
    except ZediError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
