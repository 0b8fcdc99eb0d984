"""The HTTP API: pages. What a page says is the realtime service's; that it exists, and its title, is ours.

May import: contract, errors, schema, and from realtime `access` and `config` (tokens are checked alike).
"""
