"""The embedded AWS: everything that AWS would run, as supervised children of one process, on loopback.

    state       the folder that everything is kept in; one `zedi up` at a time has it
    ports       which ports are wanted, which are taken, and by whom
    supervisor  children that cannot outlive us, their logs, waiting until they are ready
    aws         ministack: the AWS API, with what it lacks for our templates added
    postgres    the server behind the Aurora endpoint
    valkey      the server behind the ElastiCache endpoint
    edge        what CloudFront does: the front end's bucket, /api and /realtime on one address
    task        the containers of the deployed ECS task definition, run as processes
    awslogs     what the containers write, into the log group that their definition names
    platform    all of it, in order: servers, deploy, databases, service, edge

May import: settings, contract, deploy, errors. The service is started, never imported.
"""

from __future__ import annotations

from zedi.errors import ZediError


class EmbeddedError(ZediError):
    """A server of the embedded AWS could not be started, or something stands in its way."""
