"""`zedi up`: an environment, whole, on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zedi.embedded.platform import Running
    from zedi.settings import Settings


@click.command()
@click.argument("environment", default="local", metavar="[ENV]")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".zedi"),
    show_default=True,
    metavar="DIR",
    help="Where everything is kept that outlives a run.",
)
@click.option(
    "--web",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="A built front end to serve instead of the one in this package.",
)
def up(environment: str, state: Path, web: Path | None) -> None:
    """Run the whole platform on this machine, until Ctrl-C.

    ENV is the name of an environment with an [embedded] table, or the path of its .toml file.
    """
    import asyncio

    from zedi.settings import load

    asyncio.run(_up(load(environment), state, web))


async def _up(settings: Settings, state: Path, web: Path | None) -> None:
    import asyncio
    import signal

    from zedi.embedded.platform import Platform

    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, asked.set)
    _raise_file_limit()
    platform = Platform(settings, state, _tell, web=web)
    starting = asyncio.create_task(platform.start())
    waiting = asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            _show(starting.result())
            await waiting
        _tell("stopping")
    finally:
        for task in (starting, waiting):
            task.cancel()
        await asyncio.gather(starting, waiting, return_exceptions=True)
        await platform.stop()
    _tell("stopped")


def _raise_file_limit() -> None:
    """One browser is several files here and in the service, which inherits the limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tell(text: str) -> None:
    head, *rest = text.splitlines()
    # The terminal may be closed: what runs goes on, or stops, all the same.
    with contextlib.suppress(OSError):
        click.echo("\n".join([f"  {click.style('·', fg='cyan')} {head}", *rest]))


def _show(running: Running) -> None:
    def title(text: str) -> str:
        return click.style(text, bold=True)

    address = click.style(running.address, fg="green", bold=True)
    lines = ["", f"{title('ready')} in {running.seconds:.1f} s   {address}"]
    if running.users:
        lines += ["", title("users")]
        width = max(len(user.email) for user in running.users)
        lines += [f"  {user.email:{width}}  {user.password}  ({user.display_name})" for user in running.users]
    lines += ["", title("outputs")]
    width = max(map(len, running.outputs), default=0)
    for name, value in running.outputs.items():
        lines.append(f"  {name:{width}}  {value if isinstance(value, str) else ','.join(value)}")
    lines += ["", f"{title('logs')}  {running.logs}", f"{title('stop')}  Ctrl-C", ""]
    click.echo("\n".join(lines))
