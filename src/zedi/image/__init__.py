"""The service's image: built by docker or podman, pushed to an environment's repository.

    layout      what the image adds to its base, as folders; run by the Dockerfile, imports only Python's own
    engine      docker or podman, whichever is there and works
    release     build and push: names, labels, login, digest

An image is named after the git revision that it was built from, and never after anything else: `deploy` finds
it by that (deploy/facts.py) and runs it by its digest.

May import: settings, deploy, errors.
"""

from zedi.errors import ZediError


class ImageError(ZediError):
    """No container engine works, or what it was asked for cannot be built or pushed."""
