"""What a front end must know to use what is deployed, under the names that Vite gives to a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from zedi import contract
from zedi.deploy import DeployError
from zedi.deploy.outputs import deployed_stacks
from zedi.deploy.target import Target
from zedi.settings import Settings

_FROM: Final = (
    ("VITE_COGNITO_USER_POOL_ID", "security", "CognitoUserPoolId", ""),
    ("VITE_COGNITO_CLIENT_ID", "security", "CognitoClientId", ""),
    ("VITE_COGNITO_HOSTED_UI_URL", "security", "CognitoHostedUiUrl", ""),
    ("VITE_API_URL", "cdn", "FrontendUrl", contract.API_PATH),
    ("VITE_WEBSOCKET_URL", "cdn", "WebsocketUrl", ""),
)
"""Variable, phase, output of its template, and what follows the output's value."""


@dataclass(frozen=True)
class Variables:
    values: Mapping[str, str]
    """In a fixed order."""
    missing: Mapping[str, str]
    """Those that are not known yet, each with the phase that will say."""


def variables(settings: Settings, target: Target) -> Variables:
    """Raises DeployError when the user pool is not deployed: there is nothing to sign in to."""
    stacks = deployed_stacks(settings, target)
    if "security" not in stacks:
        raise DeployError(
            f"environment {settings.name}",
            "its user pool is not deployed",
            f"Deploy it: zedi deploy {settings.name} --through security",
        )
    values = {"VITE_AWS_REGION": target.region}
    missing: dict[str, str] = {}
    for name, phase, output, suffix in _FROM:
        if phase in stacks:
            values[name] = stacks[phase].outputs[output] + suffix
        else:
            missing[name] = phase
    return Variables(values, missing)
