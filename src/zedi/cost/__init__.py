"""What an environment costs a month, before it is deployed: quantities off the templates times prices.

    prices        the dated table (prices.json), and the newer one that `refresh` may have written
    offers        AWS's public price list: reads the table's prices anew
    assumptions   what only use decides: a number each, which a person may change
    quantities    templates and assumptions in, priced lines out; every resource type is priced or told free
    estimate      an environment's lines with their totals, what-if changes, and the difference of two
    worklog       the platform's first estimate, of January 2026, and what was wrong with it

A line is `fixed` (costs this whatever happens), `assumed` (usage times price, the assumption beside it) or
`unknown` (use decides and nothing is assumed: it has no sum, and is never shown as 0). All sums are
Decimal and USD without tax, for a month of 730 hours.

May import: settings, contract, phases, errors. Asks no account and needs no credentials.
"""

from __future__ import annotations

from zedi.errors import ZediError


class CostError(ZediError):
    """The cost cannot be computed, or the prices cannot be read."""
