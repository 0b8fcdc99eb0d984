"""The embedded AWS: everything that AWS would run, as supervised children of one process, on loopback.

    supervisor  children that cannot outlive us, their logs, waiting until they are ready
    aws         ministack: the AWS API, with what it lacks for our templates added
    postgres    the server behind the Aurora endpoint
    valkey      the server behind the ElastiCache endpoint
    edge        what CloudFront does: the front end's bucket, /api and /realtime on one address
    task        the containers of the deployed ECS task definition, run as processes
    platform    all of it, in order: servers, deploy, databases, service, edge

May import: settings, contract, deploy, errors. The service is started, never imported.
"""
