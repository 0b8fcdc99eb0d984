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

_FROM: Final = {
    "user_pool_id": ("security", "CognitoUserPoolId", ""),
    "client_id": ("security", "CognitoClientId", ""),
    "hosted_ui_url": ("security", "CognitoHostedUiUrl", ""),
    "api_url": ("cdn", "FrontendUrl", contract.API_PATH),
    "websocket_url": ("cdn", "WebsocketUrl", ""),
    "redirect_uri": ("cdn", "FrontendUrl", "/callback"),
    "logout_uri": ("cdn", "FrontendUrl", ""),
}
"""By key of contract.FrontEndConfig: phase, output of its template, what follows the output's value."""
_VARIABLES: Final = {
    "VITE_COGNITO_USER_POOL_ID": "user_pool_id",
    "VITE_COGNITO_CLIENT_ID": "client_id",
    "VITE_COGNITO_HOSTED_UI_URL": "hosted_ui_url",
    "VITE_API_URL": "api_url",
    "VITE_WEBSOCKET_URL": "websocket_url",
}


def address(key: str, outputs: Mapping[str, str]) -> str:
    """What config.json has under `key`, out of the outputs of the phase that it comes from."""
    _, output, suffix = _FROM[key]
    return outputs[output] + suffix


@dataclass(frozen=True)
class Variables:
    values: Mapping[str, str]
    """In a fixed order."""
    missing: Mapping[str, str]
    """Those that are not known yet, each with the phase that will say."""


def variables(settings: Settings, target: Target) -> Variables:
    """Raises DeployError when the user pool is not deployed: nothing says where to sign in."""
    stacks = deployed_stacks(settings, target)
    if "security" not in stacks:
        raise DeployError(
            f"environment {settings.name}",
            "its user pool is not deployed",
            f"Deploy it: zedi deploy {settings.name} --through security",
        )
    if not stacks["security"].outputs:
        raise DeployError(
            f"environment {settings.name}",
            "its user pool was taken over and not deployed yet, so nothing says where to sign in",
            f"Deploy it: zedi deploy {settings.name} --only security",
        )
    values = {"VITE_AWS_REGION": target.region}
    missing: dict[str, str] = {}
    for name, key in _VARIABLES.items():
        phase = _FROM[key][0]
        if phase in stacks:
            values[name] = address(key, stacks[phase].outputs)
        else:
            missing[name] = phase
    return Variables(values, missing)
