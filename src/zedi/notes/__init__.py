"""The HTTP API: pages. What a page says is the realtime service's; that it exists, its title and who may open
it are ours.

May import: contract, errors, schema, and from realtime `access` and `config` (tokens are checked alike),
`log`, `fanout` (the realtime tasks are told there that who may open a page has changed), `history` (a version
is a Yjs update) and `archive` (old versions are in S3).
"""
