"""What the roles may do: what the service needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from zedi.preflight.rule import ERROR, Problem, offline
from zedi.preflight.subject import Resource, Subject

_LEAST: Final = "https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege"
_EXECUTION_POLICY: Final = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
_MAY: Final[Mapping[str, Mapping[str, str]]] = {
    "-ecs-execution-role": {"secretsmanager:GetSecretValue": ":secret:{prefix}-"},
    "-ecs-task-role": {
        "s3:GetObject": "arn:aws:s3:::{prefix}-",
        "s3:PutObject": "arn:aws:s3:::{prefix}-",
        "s3:DeleteObject": "arn:aws:s3:::{prefix}-",
        "s3:ListBucket": "arn:aws:s3:::{prefix}-",
        "logs:CreateLogStream": ":log-group:/ecs/{prefix}-",
        "logs:PutLogEvents": ":log-group:/ecs/{prefix}-",
        "ssm:GetParameter": ":parameter/zedi/{name}/",
        "ssm:GetParameters": ":parameter/zedi/{name}/",
        "ssm:GetParametersByPath": ":parameter/zedi/{name}/",
    },
}
"""By the end of the role's name: each action, and what its resources must name."""


@offline(
    "Z203",
    "role that may do more than it needs",
    ERROR,
    why="Whoever takes over a task has the rights of its role. The execution role reads this environment's"
    " secrets; the task role its buckets, its log groups, its parameters; another role no `*`.",
    fix="Name the actions and the resources of this environment.",
    source=_LEAST,
    covers=("W9010", "W3037"),
)
def roles(subject: Subject) -> Iterator[Problem]:
    for role in subject.of_type("AWS::IAM::Role"):
        name = role.name("RoleName") or ""
        suffix = next((each for each in _MAY if name.endswith(each)), None)
        for index, arn in enumerate(role.get("ManagedPolicyArns") or ()):
            if isinstance(arn, str) and (
                arn != _EXECUTION_POLICY
                if suffix
                else arn.endswith(("/AdministratorAccess", "/PowerUserAccess"))
            ):
                yield Problem(f"it has {arn.rpartition('/')[2]}", role, f"ManagedPolicyArns.{index}")
        for path, statement in _statements(role):
            if statement.get("Effect") == "Allow":
                yield from _judged(role, path, statement, suffix, name)


def _statements(role: Resource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, policy in enumerate(role.get("Policies") or ()):
        statements = (policy.get("PolicyDocument") or {}).get("Statement", ())
        for index, statement in enumerate(statements if isinstance(statements, list) else [statements]):
            yield f"Policies.{number}.PolicyDocument.Statement.{index}", statement


def _judged(
    role: Resource, path: str, statement: Mapping[str, Any], suffix: str | None, name: str
) -> Iterator[Problem]:
    if "NotAction" in statement or "NotResource" in statement:
        yield Problem("it may do everything but what it names", role, path)
        return
    actions = [str(action) for action in _list(statement.get("Action"))]
    resources = [_text(resource) for resource in _list(statement.get("Resource"))]
    if suffix is None:
        if any(action == "*" or action.endswith(":*") for action in actions) and "*" in resources:
            yield Problem(f"it may {', '.join(actions)} on everything", role, path)
        return
    prefix = name.removesuffix(suffix)
    for action in actions:
        within = _MAY[suffix].get(action)
        if within is None:
            yield Problem(f"it may {action}", role, f"{path}.Action")
            continue
        wanted = within.format(prefix=prefix, name=prefix.partition("-")[2])
        for resource in resources:
            if wanted not in resource:
                yield Problem(f"it may {action} on {resource}", role, f"{path}.Resource")
                break


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(resource: Any) -> str:
    if isinstance(resource, Mapping):
        sub = resource.get("Fn::Sub")
        join = resource.get("Fn::Join")
        if sub is not None:
            return sub if isinstance(sub, str) else str(sub[0])
        if join is not None and isinstance(join[1], list):
            return str(join[0]).join(_text(part) for part in join[1])
    return resource if isinstance(resource, str) else str(resource)


@offline(
    "Z208",
    "role that strangers may take",
    ERROR,
    why="A trust policy with `*` lets any account act as the role.",
    fix="Name the service that takes it: ecs-tasks.amazonaws.com.",
    source="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html",
)
def trust(subject: Subject) -> Iterator[Problem]:
    for role in subject.of_type("AWS::IAM::Role"):
        statements = role.get("AssumeRolePolicyDocument.Statement") or []
        for index, statement in enumerate(_list(statements)):
            principal = statement.get("Principal")
            named = principal.values() if isinstance(principal, Mapping) else [principal]
            if statement.get("Effect") == "Allow" and any("*" in _list(who) for who in named):
                yield Problem(
                    "anybody may take it", role, f"AssumeRolePolicyDocument.Statement.{index}.Principal"
                )
