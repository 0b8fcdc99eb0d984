"""Prints docs/preflight.md."""

from __future__ import annotations

import sys

from zedi.preflight.catalogue import page

sys.stdout.write(page())
