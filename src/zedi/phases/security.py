"""Phase 2: who may sign in (a Cognito user pool), and what the service may do (two IAM roles)."""

from __future__ import annotations

from typing import Any, Final

from troposphere import Equals, GetAtt, If, Not, Output, Parameter, Ref, Sub, Template
from troposphere.cognito import (
    AccountRecoverySetting,
    AdminCreateUserConfig,
    PasswordPolicy,
    Policies,
    RecoveryOption,
    SchemaAttribute,
    StringAttributeConstraints,
    TokenValidityUnits,
    UserAttributeUpdateSettings,
    UserPool,
    UserPoolClient,
    UserPoolDomain,
    VerificationMessageTemplate,
)
from troposphere.iam import Policy, Role

from zedi.phases.tags import labels, tags
from zedi.settings import Settings

_EXECUTION_POLICY: Final = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
_CALLBACK_PATH: Final = "/callback"


def build(settings: Settings) -> Template:
    template = Template(Description=f"{settings.prefix}: identity and roles")
    pool = _pool(template, settings)
    client = _client(template, settings, pool)
    domain = template.add_resource(
        UserPoolDomain(
            "UserPoolDomain", Domain=Sub(f"{settings.prefix}-${{AWS::AccountId}}"), UserPoolId=Ref(pool)
        )
    )
    execution_role, task_role = _roles(template, settings)

    # The embedded AWS shows the sign-in pages itself: no name server knows the domain.
    hosted_ui = settings.endpoint_url or Sub(
        f"https://${{{domain.title}}}.auth.{settings.region}.amazoncognito.com"
    )
    for name, value, description in (
        ("CognitoUserPoolId", Ref(pool), "The user pool"),
        ("CognitoClientId", Ref(client), "The web client"),
        ("CognitoUserPoolEndpoint", GetAtt(pool, "ProviderName"), "The issuer of tokens, without https://"),
        ("CognitoHostedUiUrl", hosted_ui, "Base address of the sign-in pages"),
        ("EcsExecutionRoleArn", GetAtt(execution_role, "Arn"), "What starts the tasks"),
        ("EcsTaskRoleArn", GetAtt(task_role, "Arn"), "What the tasks act as"),
    ):
        template.add_output(Output(name, Value=value, Description=description))
    return template


def _pool(template: Template, settings: Settings) -> UserPool:
    security = settings.security
    name = f"{settings.prefix}-users"
    # Accounts cannot be made again: where the database is protected, they are too.
    protected = settings.database.deletion_protection
    pool = UserPool(
        "UserPool",
        DeletionPolicy="Retain" if protected else "Delete",
        UpdateReplacePolicy="Retain" if protected else "Delete",
        UserPoolName=name,
        DeletionProtection="ACTIVE" if protected else "INACTIVE",
        UsernameAttributes=["email"],
        AutoVerifiedAttributes=["email"],
        UserAttributeUpdateSettings=UserAttributeUpdateSettings(
            AttributesRequireVerificationBeforeUpdate=["email"]
        ),
        AccountRecoverySetting=AccountRecoverySetting(
            RecoveryMechanisms=[RecoveryOption(Name="verified_email", Priority=1)]
        ),
        AdminCreateUserConfig=AdminCreateUserConfig(AllowAdminCreateUserOnly=False),
        Schema=[
            SchemaAttribute(
                Name="display_name",
                AttributeDataType="String",
                Mutable=True,
                StringAttributeConstraints=StringAttributeConstraints(MinLength="0", MaxLength="100"),
            )
        ],
        MfaConfiguration=security.mfa,
        Policies=Policies(
            PasswordPolicy=PasswordPolicy(
                MinimumLength=security.password_minimum_length,
                RequireUppercase=True,
                RequireLowercase=True,
                RequireNumbers=True,
                RequireSymbols=True,
                TemporaryPasswordValidityDays=security.temporary_password_days,
            )
        ),
        VerificationMessageTemplate=VerificationMessageTemplate(
            DefaultEmailOption="CONFIRM_WITH_CODE",
            EmailSubject="[Zedi] メールアドレスの確認",
            EmailMessage="確認コード: {####}",
        ),
        UserPoolTags=labels(settings, name),
    )
    if security.mfa != "OFF":
        pool.EnabledMfas = ["SOFTWARE_TOKEN_MFA"]
    return template.add_resource(pool)


def _client(template: Template, settings: Settings, pool: UserPool) -> UserPoolClient:
    security = settings.security
    callbacks, logouts = _addresses(template, settings)
    return template.add_resource(
        UserPoolClient(
            "WebClient",
            ClientName=f"{settings.prefix}-web-client",
            UserPoolId=Ref(pool),
            GenerateSecret=False,
            SupportedIdentityProviders=["COGNITO"],
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthFlows=["code"],
            AllowedOAuthScopes=["email", "openid", "profile"],
            ExplicitAuthFlows=["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            CallbackURLs=callbacks,
            LogoutURLs=logouts,
            AccessTokenValidity=security.token_hours,
            IdTokenValidity=security.token_hours,
            RefreshTokenValidity=security.refresh_token_days,
            TokenValidityUnits=TokenValidityUnits(AccessToken="hours", IdToken="hours", RefreshToken="days"),
            EnableTokenRevocation=True,
            PreventUserExistenceErrors="ENABLED",
        )
    )


def _addresses(template: Template, settings: Settings) -> tuple[Any, Any]:
    """Where sign-in and sign-out may lead back to: the settings' URLs, and the front end's own."""
    callbacks, logouts = list(settings.security.callback_urls), list(settings.security.logout_urls)
    url = settings.cdn.public_url
    if url:
        # dict keys: Cognito refuses a URL that stands there twice.
        return list(dict.fromkeys([*callbacks, url + _CALLBACK_PATH])), list(dict.fromkeys([*logouts, url]))
    # CloudFront makes its own name up, in a later phase.
    frontend = template.add_parameter(Parameter("FrontendUrl", Type="String", Default=""))
    template.add_condition("HasFrontend", Not(Equals(Ref(frontend), "")))
    return (
        If("HasFrontend", [*callbacks, Sub(f"${{FrontendUrl}}{_CALLBACK_PATH}")], callbacks),
        If("HasFrontend", [*logouts, Ref(frontend)], logouts),
    )


def _roles(template: Template, settings: Settings) -> tuple[Role, Role]:
    prefix = settings.prefix
    here = f"{settings.region}:${{AWS::AccountId}}"
    execution = _role(
        template,
        settings,
        "EcsExecutionRole",
        f"{prefix}-ecs-execution-role",
        {
            f"{prefix}-ecs-execution-secrets": [
                _allow(
                    ["secretsmanager:GetSecretValue"],
                    Sub(f"arn:aws:secretsmanager:{here}:secret:{prefix}-*"),
                )
            ]
        },
    )
    execution.ManagedPolicyArns = [_EXECUTION_POLICY]
    task = _role(
        template,
        settings,
        "EcsTaskRole",
        f"{prefix}-ecs-task-role",
        {
            f"{prefix}-ecs-task-s3": [
                _allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], f"arn:aws:s3:::{prefix}-*/*"),
                _allow(["s3:ListBucket"], f"arn:aws:s3:::{prefix}-*"),
            ],
            f"{prefix}-ecs-task-logs": [
                _allow(
                    ["logs:CreateLogStream", "logs:PutLogEvents"],
                    Sub(f"arn:aws:logs:{here}:log-group:/ecs/{prefix}-*:*"),
                )
            ],
            f"{prefix}-ecs-task-ssm": [
                _allow(
                    ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"],
                    Sub(f"arn:aws:ssm:{here}:parameter/zedi/{settings.name}/*"),
                )
            ],
        },
    )
    return execution, task


def _role(
    template: Template, settings: Settings, title: str, name: str, policies: dict[str, list[dict[str, Any]]]
) -> Role:
    return template.add_resource(
        Role(
            title,
            RoleName=name,
            AssumeRolePolicyDocument=_document(
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ]
            ),
            Policies=[
                Policy(PolicyName=policy, PolicyDocument=_document(statements))
                for policy, statements in policies.items()
            ],
            Tags=tags(settings, name),
        )
    )


def _allow(actions: list[str], resource: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def _document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
