"""What is deployed: seven phases, one file each, one CloudFormation template each.

A phase is a function from settings to a template (`build`). What it needs from earlier phases are the
template's parameters: a parameter is filled with the output of the same name of an earlier phase, or, when
it stands in `FACTS`, with what the deployer finds out when it comes to it. Names are PascalCase in
templates and snake_case to people: the output AuroraClusterEndpoint is shown as aurora_cluster_endpoint.

May import: settings, contract, errors. Knows nothing of how or where it is deployed.
"""
