"""A log of an environment for whoever takes it over, written from what is deployed.

    report     what is known of it, as data: asks, derives the next steps
    markdown   the data as a document, in the form of the platform's first work log
    words      what stands in it, in two languages

It says how to get at secrets and never holds one: no secret is asked for here.

May import: settings, contract, phases, preflight, cost, deploy, diagram, errors.
"""
