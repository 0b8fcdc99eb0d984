"""Zedi: the platform behind a collaborative notebook.

Data flows one way, and nothing to the right is imported by anything to its left::

    settings -> phases -> preflight -> deploy -> outputs        (what is deployed, and how)
    contract -> realtime, notes                                 (what runs in it)

`contract` is what both halves agree on, `embedded` runs both on one machine, `cli` is the face of all.
"""
