"""`zedi cost`: what an environment costs a month, and `zedi cost refresh`: AWS's prices read anew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from zedi.cost.estimate import Difference, Estimate, Total
    from zedi.cost.offers import Refreshed
    from zedi.cost.quantities import Kind, Line

_REFRESH: Final = "refresh"
_CENT: Final = Decimal("0.01")
_WIDTH: Final = 160
"""Columns, where no terminal says how many there are."""
_LEAST_WIDTH: Final = 120
"""Columns that the table of lines needs; a narrower terminal breaks its lines."""
_STYLES: Final[dict[Kind, str]] = {"fixed": "", "assumed": "yellow", "unknown": "magenta"}
_OLD_MONTHS: Final = 12
_TRAILING: Final = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")


@click.command()
@click.argument("environment", metavar="ENVIRONMENT|refresh")
@click.option(
    "--what-if",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    help="Another value of a setting (networking.egress=public) or assumption (assume.connections=500).",
)
@click.option("--compare", metavar="ENVIRONMENT", help="Show line by line what another environment costs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--assumptions", is_flag=True, help="List the assumptions with their values, and end.")
def cost(
    environment: str, changes: tuple[str, ...], compare: str | None, as_json: bool, assumptions: bool
) -> None:
    """Print what ENVIRONMENT costs a month, line by line, without asking AWS.

    ENVIRONMENT is a name (dev) or the path of a .toml file. Quantities are read off its templates, prices
    off a dated table. What is fixed, what is assumed and what is unknown are kept apart. `zedi cost refresh`
    reads the prices anew from AWS's public price list; it needs the network and no credentials.
    """
    if environment == _REFRESH:
        if changes or compare or assumptions or as_json:
            raise click.UsageError("`zedi cost refresh` takes no options.")
        _refresh()
        return

    from zedi import settings
    from zedi.cost import prices
    from zedi.cost.estimate import estimate, what_if

    plain = settings.load(environment)
    chosen, assumed = what_if(plain, dict(map(_change, changes)))
    if assumptions:
        _print_assumptions(assumed, as_json)
        return
    table = prices.load()
    found = estimate(chosen, table, assumed)
    # Without --compare, what-if is compared with the environment as it is.
    other = None
    if compare is not None:
        other = estimate(settings.load(compare), table, assumed)
    elif changes:
        other = estimate(plain, table)
    name = f"{found.environment} as it is" if compare is None else (other or found).environment
    if as_json:
        click.echo(json.dumps(_json(found, other, name), indent=2, ensure_ascii=False))
    else:
        _print(found, other, name, embedded=chosen.embedded is not None)


def _change(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.UsageError(f"--what-if {text}: expected KEY=VALUE, as in networking.egress=public")
    return key.strip(), value.strip()


# For people.


def _print(found: Estimate, other: Estimate | None, name: str, *, embedded: bool) -> None:
    from zedi.cost import worklog

    console = _console()
    total = found.total
    _show(
        console,
        f"[bold]{found.environment}[/] in {found.region}: about [bold]${money(total.usd)}[/] a month"
        " (730 hours, on demand, without tax)",
    )
    if embedded:
        _show(console, "It runs on this machine and costs nothing; this is what its templates cost on AWS.")
    for table in (_totals(found), _lines(found), _sums("service", found.by_service())):
        click.echo()
        _show(console, table)
    click.echo()
    if other is not None:
        _print_comparison(console, found, other, name)
    if found.environment == worklog.ENVIRONMENT and other is None:
        _print_worklog(console, found)
    click.echo()
    for line in age(found, date.today()):
        _show(console, line)


def _totals(found: Estimate) -> RenderableType:
    from zedi.cost.estimate import total

    table = _table("", ("USD a month", "right"), ("at least", "right"), ("at most", "right"), "")
    for kind, words in (
        ("fixed", "whatever happens"),
        ("assumed", "by use; the assumption stands beside it"),
    ):
        lines = found.of_kind("fixed" if kind == "fixed" else "assumed")
        _total_row(table, kind, total(lines), words)
    _total_row(table, "together", found.total, "at most: all that these settings allow, all month", "bold")
    words = f"{found.total.unknown} lines that use decides, counted nowhere"
    table.add_row("unknown", "?", "?", "?", words, style=_STYLES["unknown"])
    return table


def _total_row(table: Table, name: str, total: Total, words: str, style: str = "") -> None:
    table.add_row(name, money(total.usd), money(total.low), money(total.high), words, style=style)


def _lines(found: Estimate) -> RenderableType:
    table = _table(
        "phase and line",
        "kind",
        ("quantity", "right"),
        "unit",
        ("price", "right"),
        ("USD a month", "right"),
        ("range", "right"),
        "how",
    )
    phase = ""
    for line in found.lines:
        if line.phase != phase:
            phase = line.phase
            table.add_row(phase, "", "", "", "", _known(found.by_phase()[phase]), style="bold")
        table.add_row(
            f"  {line.item}",
            line.kind,
            "" if line.quantity is None else number(line.quantity),
            line.unit,
            "" if line.price is None else number(line.price),
            "?" if line.usd is None else money(line.usd),
            _range(line),
            line.note,
            style=_STYLES[line.kind],
        )
    return table


def _range(line: Line) -> str:
    if line.low is None or line.high is None or line.low == line.high:
        return ""
    return f"{money(line.low)}-{money(line.high)}"


def _sums(what: str, sums: dict[str, Total]) -> RenderableType:
    table = _table(what, ("USD a month", "right"), ("range", "right"), ("unknown lines", "right"))
    for name, total in sums.items():
        span = "" if total.low == total.high else f"{money(total.low)}-{money(total.high)}"
        table.add_row(name, _known(total), span, str(total.unknown or ""))
    return table


def _known(total: Total) -> str:
    return money(total.usd) if total.known else "?"


def _print_comparison(console: Console, found: Estimate, other: Estimate, name: str) -> None:
    from zedi.cost.estimate import differences

    change = found.total.usd - other.total.usd
    more = "more" if change > 0 else "less"
    _show(
        console,
        f"Against [bold]{name}[/] (${money(other.total.usd)}): [bold]${money(abs(change))} {more}[/] a month",
    )
    table = _table("line", (name, "right"), ("here", "right"), ("difference", "right"))
    for each in differences(other, found):
        table.add_row(each.line.key, _side(each.before), _side(each.after), signed(each.usd))
    table.add_row("together", money(other.total.usd), money(found.total.usd), signed(change), style="bold")
    _show(console, table)


def _side(line: Line | None) -> str:
    if line is None:
        return ""
    return "?" if line.usd is None else money(line.usd)


def _print_worklog(console: Console, found: Estimate) -> None:
    from zedi.cost import worklog

    low, high = worklog.claimed()
    _show(
        console,
        f"The work log of 2026-01-31 said about ${worklog.TOTAL}. Its own figures add up to ${money(low)}-"
        f"{money(high)}, and this is what is wrong with them:",
    )
    table = _table("in the log", ("it said", "right"), ("it is", "right"), ("off by", "right"), "why")
    for each in worklog.verdicts(found):
        said = "" if each.low is None or each.high is None else money(each.low)
        if each.low != each.high:
            said = f"{said}-{money(each.high or Decimal(0))}"
        table.add_row(each.item, said, money(each.usd), signed(each.over) if each.over else "", each.why)
    table.add_row(
        "together",
        str(worklog.TOTAL),
        money(found.total.usd),
        signed(found.total.usd - worklog.TOTAL),
        "",
        style="bold",
    )
    _show(console, table)


def age(found: Estimate, today: date) -> Iterator[str]:
    """How old the prices are, and which of them nobody has read in a price list."""
    from zedi.cost.estimate import months_between

    oldest, newest = found.oldest, found.newest
    months = months_between(oldest.seen, today)
    yield (
        f"Prices: {len(found.prices)} of {found.region}, seen {oldest.seen:%Y-%m} to {newest.seen:%Y-%m}; "
        f"the oldest ({oldest.id}) {months} months ago."
    )
    if found.unverified:
        names = ", ".join(f"{price.id} ({price.source})" for price in found.unverified)
        yield f"Not verified: {names}."
    if months >= _OLD_MONTHS or found.unverified:
        yield "`zedi cost refresh` reads AWS's price list."


def _print_assumptions(assumed: Any, as_json: bool) -> None:
    from zedi.cost.assumptions import ALL, PREFIX

    if as_json:
        click.echo(json.dumps({f"{PREFIX}{key}": float(value) for key, value in assumed.items()}, indent=2))
        return
    table = _table("assumption", ("value", "right"), "what it is")
    for each in ALL:
        table.add_row(f"{PREFIX}{each.key}", number(assumed[each.key]), each.text)
    _show(_console(), table)


# For programs.


def _json(found: Estimate, other: Estimate | None, name: str) -> dict[str, Any]:
    from zedi.cost import worklog
    from zedi.cost.estimate import differences, total

    report: dict[str, Any] = {
        "environment": found.environment,
        "region": found.region,
        "hours": 730,
        "total": _json_total(found.total),
        "fixed": _json_total(total(found.of_kind("fixed"))),
        "assumed": _json_total(total(found.of_kind("assumed"))),
        "unknown": [line.key for line in found.of_kind("unknown")],
        "phases": {phase: _json_total(sums) for phase, sums in found.by_phase().items()},
        "services": {service: _json_total(sums) for service, sums in found.by_service().items()},
        "lines": [_json_line(line) for line in found.lines],
        "assumptions": {key: float(value) for key, value in found.assume.items()},
        "prices": [
            {
                "id": price.id,
                "usd": float(price.usd),
                "unit": price.unit,
                "effective": str(price.effective),
                "seen": str(price.seen),
                "source": price.source,
                "verified": price.verified,
            }
            for price in found.prices.values()
        ],
    }
    if other is not None:
        report["compared_with"] = {
            "name": name,
            "total": _json_total(other.total),
            "difference": _usd(found.total.usd - other.total.usd),
            "lines": [_json_difference(each) for each in differences(other, found)],
        }
    if found.environment == worklog.ENVIRONMENT and other is None:
        low, high = worklog.claimed()
        report["work_log"] = {
            "total": _usd(worklog.TOTAL),
            "sum_low": _usd(low),
            "sum_high": _usd(high),
            "lines": [
                {
                    "item": each.item,
                    "said_low": _usd(each.low),
                    "said_high": _usd(each.high),
                    "usd": _usd(each.usd),
                    "off_by": _usd(each.over),
                    "why": each.why,
                }
                for each in worklog.verdicts(found)
            ],
        }
    return report


def _json_total(total: Total) -> dict[str, float | int | None]:
    if not total.known:
        return {"usd": None, "low": None, "high": None, "unknown": total.unknown}
    sums = {"usd": _usd(total.usd), "low": _usd(total.low), "high": _usd(total.high)}
    return {**sums, "unknown": total.unknown}


def _json_line(line: Line) -> dict[str, Any]:
    return {
        "phase": line.phase,
        "service": line.service,
        "item": line.item,
        "kind": line.kind,
        "quantity": None if line.quantity is None else float(line.quantity),
        "unit": line.unit,
        "price": None if line.price is None else float(line.price),
        "free": float(line.free),
        "usd": _usd(line.usd),
        "low": _usd(line.low),
        "high": _usd(line.high),
        "how": line.note,
    }


def _json_difference(each: Difference) -> dict[str, Any]:
    return {
        "line": each.line.key,
        "before": None if each.before is None else _usd(each.before.usd),
        "after": None if each.after is None else _usd(each.after.usd),
        "difference": _usd(each.usd),
    }


def _usd(value: Decimal | None) -> float | None:
    """To a hundredth of a cent."""
    return None if value is None else float(value.quantize(Decimal("0.0001"), ROUND_HALF_UP))


# The prices.


def _refresh() -> None:
    from zedi.cost import offers, prices

    file = prices.user_file()
    result = offers.refresh(prices.load(file), date.today())
    prices.write(result.table, file)
    for line in refreshed_lines(result):
        click.echo(line)
    click.echo(f"Written to {file}")


def refreshed_lines(result: Refreshed) -> Iterable[str]:
    """What a refresh has changed, and what it has left as it was."""
    used = [(before, now) for before, now in result.found if before is not None]
    yield f"Read {len(result.found)} prices of {result.table.region} from AWS's price list."
    for before, now in used:
        if before.usd != now.usd:
            yield f"  {now.id}: {number(before.usd)} → {number(now.usd)} USD for a {now.unit}"
    if not any(before.usd != now.usd for before, now in used):
        yield "  None of those that were known has changed."
    for price, reason in result.kept:
        yield f"  {price}: kept, seen {result.table.prices[price].seen}: {reason}"


# Words and tables.


def money(usd: Decimal) -> str:
    """Dollars and cents; what is above nothing is never shown as nothing."""
    if 0 < usd < _CENT / 2:
        return "<0.01"
    return f"{usd.quantize(_CENT, ROUND_HALF_UP):,}"


def signed(usd: Decimal | None) -> str:
    if usd is None:
        return "?"
    return f"{usd.quantize(_CENT, ROUND_HALF_UP):+,}"


def number(value: Decimal) -> str:
    """As short as it can be said exactly, or to four places."""
    rounded = value if value == value.quantize(Decimal("0.00001")) else value.quantize(Decimal("0.0001"))
    return f"{rounded.normalize():,f}"


def _show(console: Console, what: RenderableType) -> None:
    """Prints a table or text without spaces at the ends of lines, before the end of a style or not."""
    with console.capture() as drawn:
        console.print(what)
    for line in drawn.get().splitlines():
        click.echo(_TRAILING.sub(r"\1", line), color=True)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    width = max(console.width, _LEAST_WIDTH) if console.is_terminal else _WIDTH
    return Console(highlight=False, width=width)


def _table(*columns: str | tuple[str, str]) -> Table:
    """A table whose cells are as wide as what they hold, Japanese included."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        if isinstance(column, str):
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column[0], justify="right", no_wrap=True)
    table.columns[0].no_wrap = True
    return table
