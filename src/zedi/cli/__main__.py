"""`python -m zedi.cli` is `zedi`."""

from zedi.cli import main

main()
