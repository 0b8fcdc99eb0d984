"""How templates reach AWS (or the embedded one): through the same code, the same change sets.

    target      where: a region, an account and an API, and the boto3 clients for it
    facts       what a phase needs and no earlier phase outputs: token keys, engine version, image
    revision    which git revision we are: the name of the image
    plan        what will happen, as frozen data: one change set a phase
    planning    makes the plan of all phases, and changes nothing: `zedi plan`
    saved       a plan in a file, and what has changed since it was written
    timing      how long that takes on AWS, by estimate, and which phases it hangs on
    execute     one phase: proposes a change set, carries it out, follows its events to the end
    rollout     all phases in order, side by side where they can be: `deploy`
    order       work on phases in threads, each after what it waits for
    destroy     everything taken down again, backwards: what stays and why, `survey` and `destroy`
    adopt       what Terraform made, taken under the templates: import change sets
    keep        the deployed image, kept from its repository's lifecycle policy
    publish     the front end's files and config.json into their bucket
    outputs     what is deployed, by the names people use
    status      what is deployed and how it is
    logs        what the service's containers have written
    inventory   every phase with its resources and its template
    drift       what was changed behind the templates' back, and what was not checked for it
    frontend    what a front end must know of it
    credentials the database's, out of Secrets Manager
    events      what a listener is told meanwhile

May import: settings, contract, phases, preflight (`explain` alone), errors. Prints nothing: progress goes to
a listener.
"""

from zedi.errors import ZediError


class DeployError(ZediError):
    """AWS refused something, cannot be asked, or a stack is in a state that needs a hand."""
