"""Measurements of the project beside its peers: the same bytes to both, one machine, one run.

    edits      Yjs updates by formula, and which edits a merged update holds
    figures    percentiles, medians, ratios, spread: arithmetic on what was measured
    processes  processor time and memory of process trees, read off /proc
    load       the load generator: Hocuspocus's protocol in raw frames, a process of its own for each job
    stage      the servers: PostgreSQL, Valkey, our service, the peer
    scenarios  what is measured, each scenario with data as its result
    report     the table and the plot of a run
    __main__   `python -m bench`: all scenarios, or the quick one
    preflight  preflight and synthesis beside cfn-lint alone; a program of its own
    peer/      the peer: a Hocuspocus server with the same database, Redis and token check

May import everything of zedi. Nothing imports it.
"""
