"""How templates reach AWS (or the embedded one): through the same code, the same change sets.

    target      where: a region and its API, and the boto3 clients for it
    facts       what a phase needs and no earlier phase outputs: token keys, engine version, image
    plan        what will happen, as frozen data: one change set a phase
    execute     makes it happen, and tells every event to whoever listens
    publish     the front end's files and config.json into their bucket
    outputs     what is deployed, by the names people use

May import: settings, contract, phases, errors. Prints nothing: progress goes to a listener.
"""
