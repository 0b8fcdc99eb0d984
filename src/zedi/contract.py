"""What the templates and the service agree on. Imports nothing, so that both sides may import it.

The task definition (phases/realtime.py) gives the service its environment under these names, the load
balancer and CloudFront send it traffic on these paths, the dashboard (phases/monitoring.py) reads the
metrics under these names, and the front end finds its settings in the file described here.
"""

from __future__ import annotations

from typing import Final, TypedDict

# Ports inside a task. Settings may move them where two environments share one machine.
REALTIME_PORT: Final = 1234
API_PORT: Final = 8080

# Paths. CloudFront and the embedded edge forward these two; everything else is the front end's.
REALTIME_PATH: Final = "/realtime"
"""Where browsers open the WebSocket. Hocuspocus clients carry the document's name inside the frames."""
API_PATH: Final = "/api"
"""The prefix of the HTTP API."""
HEALTH_PATH: Final = "/health"
"""200 while the process should get traffic, else 503; on both ports. A database that goes away once it has
answered changes nothing: a new task could not reach it either."""
METRICS_PATH: Final = "/metrics"
"""Prometheus, on the realtime port; only for who reaches a task itself, not through the load balancer."""

# The containers of one task: same image, different command.
REALTIME_CONTAINER: Final = "realtime"
API_CONTAINER: Final = "api"
REALTIME_COMMAND: Final = ("python", "-m", "zedi.realtime")
API_COMMAND: Final = ("python", "-m", "zedi.notes")

# Environment of both containers. Times are seconds, sizes bytes.
ENVIRONMENT: Final = "ZEDI_ENVIRONMENT"
"""The environment's name: local, dev, staging, prod."""
BIND_ADDRESS: Final = "BIND_ADDRESS"
"""The address to listen on: 0.0.0.0 in a task, 127.0.0.1 on a laptop."""
PORT: Final = "PORT"
"""The port to listen on."""
DB_CREDENTIALS_JSON: Final = "DB_CREDENTIALS_JSON"
"""A secret: JSON object with username, password, engine, host, port, dbname."""
DB_TLS: Final = "DB_TLS"
"""`require` (encrypted, as Aurora is reached) or `disable` (loopback)."""
REDIS_URL: Final = "REDIS_URL"
"""`rediss://host:port` (TLS) or `redis://host:port`."""
COGNITO_ISSUER: Final = "COGNITO_ISSUER"
"""The `iss` of every token: https://cognito-idp.{region}.amazonaws.com/{pool id}."""
COGNITO_CLIENT_ID: Final = "COGNITO_CLIENT_ID"
"""The `aud` of ID tokens and `client_id` of access tokens."""
COGNITO_JWKS: Final = "COGNITO_JWKS"
"""The pool's public keys as a JSON key set, given at deploy time: a task in a private subnet cannot
reach Cognito. Empty means: fetch them from COGNITO_JWKS_URL."""
COGNITO_JWKS_URL: Final = "COGNITO_JWKS_URL"
"""Where the key set can be fetched. May be empty when COGNITO_JWKS is given."""
PING_INTERVAL: Final = "PING_INTERVAL"
"""Seconds between the WebSocket pings that keep the load balancer from cutting an idle socket."""
DRAIN_SECONDS: Final = "DRAIN_SECONDS"
"""How long a task may take from SIGTERM to its end."""
REGION: Final = "AWS_REGION"
"""The region of the environment; Fargate names it so, too."""
HISTORY_VERSIONS: Final = "HISTORY_VERSIONS"
"""How many versions of a page stay in the database, beside the newest snapshot."""
HISTORY_DAYS: Final = "HISTORY_DAYS"
"""How many days they stay there."""
HISTORY_MINUTES: Final = "HISTORY_MINUTES"
"""Least minutes between two versions."""
HISTORY_BUCKET: Final = "HISTORY_BUCKET"
"""Where versions go from the database. Empty: nowhere, they are deleted."""
HISTORY_BUCKET_DAYS: Final = "HISTORY_BUCKET_DAYS"
"""How many days they stay there; 0: for ever."""

# Custom metrics, written as embedded-metric log lines.
METRIC_NAMESPACE: Final = "Zedi"
METRIC_DIMENSION: Final = "Environment"
"""The one dimension of every metric; its value is that of ZEDI_ENVIRONMENT."""
METRIC_PERIOD: Final = 60
"""Seconds between two readings of a gauge: each task writes one a period, so that their sum over one
period is the total of all tasks, and their average the load of one."""
METRIC_CONNECTIONS: Final = "Connections"
"""Open WebSockets of one task (gauge)."""
METRIC_DOCUMENTS: Final = "ActiveDocuments"
"""Documents open in one task (gauge)."""
METRIC_EDITS: Final = "SyncOperations"
"""Updates accepted (count)."""
METRIC_LATENCY: Final = "SyncLatency"
"""Milliseconds from an update's arrival to its acknowledgement (distribution)."""
METRIC_ERRORS: Final = "Errors"
"""Messages refused or failed (count)."""
METRIC_MESSAGES: Final = "Messages"
"""Messages received (count); the error rate is Errors / Messages."""

CONFIG_FILE: Final = "config.json"
"""Name of the front end's settings in its bucket, written by every deploy, never cached."""


class FrontEndConfig(TypedDict):
    """The content of `/config.json`. Every URL is absolute and has no trailing slash."""

    environment: str
    region: str
    api_url: str
    """e.g. http://localhost:30000/api"""
    websocket_url: str
    """e.g. ws://localhost:30000/realtime"""
    hosted_ui_url: str
    """Base of /oauth2/authorize, /oauth2/token, /logout."""
    user_pool_id: str
    client_id: str
    redirect_uri: str
    """The callback, e.g. http://localhost:30000/callback"""
    logout_uri: str
