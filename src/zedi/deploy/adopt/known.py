"""Which Terraform resource is which of ours, and its properties in CloudFormation's words.

Identifiers are the primaryIdentifier of each type's schema, and `fixed` holds its createOnlyProperties (the
tests hold both against the schemas): https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html
Attributes are those of Terraform's AWS provider: https://registry.terraform.io/providers/hashicorp/aws/latest/docs
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from zedi.deploy.adopt.intrinsics import unknown
from zedi.deploy.adopt.state import Resource, State

NAMED: Final = 2
"""How well a resource fits one of ours: by its name, or what is as good as a name."""
ALIKE: Final = 1
"""It is where ours would be, under another name."""
NO: Final = 0


@dataclass(frozen=True)
class Wanted:
    """One resource of a template of ours that Terraform may have made.

    Args:
        properties: worked out as far as is known (`UNKNOWN` otherwise).
        vpc: the identifier of the environment's VPC, where it was found.
        tables: of a route table: those that its subnets are tied to.
    """

    logical_id: str
    type: str
    properties: Mapping[str, Any]
    vpc: str = ""
    tables: frozenset[str] = frozenset()


Spec = str | Callable[[Resource, State], Any] | Mapping[str, Any]
"""Where a property's value is: an attribute's path, a function, or a mapping of such."""


@dataclass(frozen=True)
class Kind:
    """One type of ours.

    Args:
        terraform: the types that may be it.
        fits: how well a Terraform resource fits what is wanted.
        identifier: what CloudFormation's import asks for.
        properties: every property that our templates have, and where the state says it.
        fixed: those that cannot be changed later: AWS would replace the resource, or refuse.
        stays: fixed ones that say nothing of use. Ours stand in the template, the others in AWS.
        unread: those that the state does not say, or that must not be compared. Ours stand in the template.
        later: those that the import must not carry; the next deploy brings them.
        attributes: what Fn::GetAtt gives.
    """

    terraform: tuple[str, ...]
    fits: Callable[[Wanted, Resource], int]
    identifier: Callable[[Resource], Mapping[str, str]]
    properties: Mapping[str, Spec]
    fixed: frozenset[str] = frozenset()
    stays: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    attributes: Mapping[str, str] = field(default_factory=dict)
    reference: str = "id"


def read(spec: Spec, resource: Resource, state: State) -> Any:
    """A property's value as the state says it; None: not set."""
    if isinstance(spec, str):
        return resource.get(spec)
    if isinstance(spec, Mapping):
        found = {key: read(each, resource, state) for key, each in spec.items()}
        return found if any(each is not None for each in found.values()) else None
    return spec(resource, state)


def roots(spec: Spec) -> set[str]:
    """The attributes that a spec reads, so that a secret one is never shown; those of functions are known."""
    if isinstance(spec, str):
        return {spec.partition(".")[0]}
    if isinstance(spec, Mapping):
        return set().union(*(roots(each) for each in spec.values()))
    return set(_ROOTS.get(spec, ()))


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same to AWS: 7 and "7", ["a"] and "a", lists in another order."""
    if unknown(one) or unknown(other):
        return False
    return bool(_canonical(one) == _canonical(other))


def _canonical(value: Any) -> Any:
    if value is None or value is False or value == "" or value == [] or value == {} or value == "false":
        return ""
    if value is True:
        return "true"
    if isinstance(value, int | float):
        return f"{float(value):g}"
    if isinstance(value, Mapping):
        found = {str(key): _canonical(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each != ""}
    if isinstance(value, list):
        items = sorted(
            (_canonical(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True)
        )
        return items[0] if len(items) == 1 else items
    if isinstance(value, str) and _is_number(value):
        return f"{float(value):g}"
    return str(value)


def _is_number(text: str) -> bool:
    # Not a version: 15.10 is another one than 15.1.
    return text.isdecimal() and len(text) < 10


# ---------------------------------------------------------------------------------------------- fitting


def _named(**pairs: str) -> Callable[[Wanted, Resource], int]:
    """Fits where each property (the keyword) equals the attribute."""

    def fits(wanted: Wanted, resource: Resource) -> int:
        return NAMED if all(same(wanted.properties.get(p), resource.get(a)) for p, a in pairs.items()) else NO

    return fits


def _name_tag(wanted: Wanted) -> str:
    tags = wanted.properties.get("Tags", [])
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == "Name"), "")


def _vpc(wanted: Wanted, resource: Resource) -> int:
    name, found = _name_tag(wanted), resource.tags.get("Name", "")
    if found == name:
        return NAMED
    # Every environment has the same addresses: one that says it is another's is another's.
    environment = next(tag["Value"] for tag in wanted.properties["Tags"] if tag["Key"] == "Environment")
    anothers = resource.tags.get("Environment", environment) != environment or found.startswith("zedi-")
    return ALIKE if not anothers and same(wanted.properties["CidrBlock"], resource.get("cidr_block")) else NO


def _route_table(wanted: Wanted, resource: Resource) -> int:
    if not same(wanted.properties.get("VpcId"), resource.get("vpc_id")):
        return NO
    if resource.tags.get("Name") == _name_tag(wanted):
        return NAMED
    return ALIKE if resource.text("id") in wanted.tables else NO


def _endpoint(wanted: Wanted, resource: Resource) -> int:
    kind = resource.text("vpc_endpoint_type") or "Gateway"
    if kind != wanted.properties["VpcEndpointType"]:
        return NO
    return _named(VpcId="vpc_id", ServiceName="service_name")(wanted, resource)


def _gateway(wanted: Wanted, resource: Resource) -> int:
    # It has no property but tags. A VPC has one at most.
    if resource.get("vpc_id"):
        return NAMED if wanted.vpc and resource.get("vpc_id") == wanted.vpc else NO
    return NAMED if resource.tags.get("Name") == _name_tag(wanted) else NO


# ------------------------------------------------------------------------------------------- properties


def _tags(resource: Resource, state: State) -> Any:
    return [{"Key": key, "Value": value} for key, value in sorted(_own_tags(resource).items())]


def _own_tags(resource: Resource) -> dict[str, str]:
    return {key: value for key, value in resource.tags.items() if not key.startswith("aws:")}


def _tag_map(resource: Resource, state: State) -> Any:
    return _own_tags(resource)


def _ingress(resource: Resource, state: State) -> Any:
    """The rules that let something in: the group's own, and those that are resources of their own."""
    rules: dict[str, dict[str, Any]] = {}

    def add(protocol: Any, first: Any, last: Any, about: Any, **source: Any) -> None:
        # -1 is every protocol, and then the ports say nothing.
        ports = {} if str(protocol) == "-1" else {"FromPort": first, "ToPort": last}
        rule = {"IpProtocol": str(protocol), **ports, **source}
        rules[json.dumps(rule, sort_keys=True)] = {**rule, **({"Description": about} if about else {})}

    def block(entry: Mapping[str, Any], group: str) -> None:
        parts = (
            entry.get("protocol"),
            entry.get("from_port"),
            entry.get("to_port"),
            entry.get("description"),
        )
        for cidr in entry.get("cidr_blocks") or ():
            add(*parts, CidrIp=cidr)
        for cidr in entry.get("ipv6_cidr_blocks") or ():
            add(*parts, CidrIpv6=cidr)
        for prefix in entry.get("prefix_list_ids") or ():
            add(*parts, SourcePrefixListId=prefix)
        for source in entry.get("security_groups") or ():
            add(*parts, SourceSecurityGroupId=source)
        if entry.get("source_security_group_id"):
            add(*parts, SourceSecurityGroupId=entry["source_security_group_id"])
        if entry.get("self"):
            add(*parts, SourceSecurityGroupId=group)

    own = resource.text("id")
    for entry in resource.get("ingress") or ():
        block(entry, own)
    for rule in state.of("aws_security_group_rule"):
        if rule.get("security_group_id") == own and rule.get("type") == "ingress":
            # The group's own list has it as well, with the source in another attribute.
            block(rule.values, own)
    for rule in state.of("aws_vpc_security_group_ingress_rule"):
        if rule.get("security_group_id") == own:
            source = {
                name: rule.get(attribute)
                for name, attribute in (
                    ("CidrIp", "cidr_ipv4"),
                    ("CidrIpv6", "cidr_ipv6"),
                    ("SourcePrefixListId", "prefix_list_id"),
                    ("SourceSecurityGroupId", "referenced_security_group_id"),
                )
                if rule.get(attribute)
            }
            parts = (rule.get("ip_protocol"), rule.get("from_port"), rule.get("to_port"))
            add(*parts, rule.get("description"), **source)
    return list(rules.values())


def _document(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) and text else None
    except ValueError:
        return None


def _assume(resource: Resource, state: State) -> Any:
    return _plain(_document(resource.get("assume_role_policy")))


def _plain(document: Any) -> Any:
    """A policy without the Sid that Terraform's own data source writes as an empty text."""
    if isinstance(document, Mapping):
        return {key: _plain(each) for key, each in document.items() if not (key == "Sid" and each == "")}
    return [_plain(each) for each in document] if isinstance(document, list) else document


def _policies(resource: Resource, state: State) -> Any:
    name = resource.text("name")
    found = {
        rule.text("name"): _plain(_document(rule.get("policy")))
        for rule in state.of("aws_iam_role_policy")
        if rule.get("role") == name
    }
    for entry in resource.get("inline_policy") or ():
        if entry.get("name"):
            found[str(entry["name"])] = _plain(_document(entry.get("policy")))
    return [{"PolicyName": key, "PolicyDocument": document} for key, document in sorted(found.items())]


def _managed_policies(resource: Resource, state: State) -> Any:
    name = resource.text("name")
    attached = {
        each.text("policy_arn")
        for each in state.of("aws_iam_role_policy_attachment")
        if each.get("role") == name
    }
    return sorted(attached | {str(each) for each in resource.get("managed_policy_arns") or ()})


def _parameters(name: str) -> Callable[[Resource, State], Any]:
    def parameters(resource: Resource, state: State) -> Any:
        return {str(each["name"]): str(each["value"]) for each in resource.get(name) or ()}

    return parameters


_group_parameters: Final = _parameters("parameter")


def _recovery(resource: Resource, state: State) -> Any:
    found = resource.get("account_recovery_setting.0.recovery_mechanism") or ()
    return [{"Name": each.get("name"), "Priority": each.get("priority")} for each in found] or None


def _mfas(resource: Resource, state: State) -> Any:
    return ["SOFTWARE_TOKEN_MFA"] if resource.get("software_token_mfa_configuration.0.enabled") else None


def _schema(resource: Resource, state: State) -> Any:
    """The attributes of a user, as far as our template says such a thing."""
    found = []
    for each in resource.get("schema") or ():
        limits = (each.get("string_attribute_constraints") or [{}])[0]
        attribute = {
            "Name": each.get("name"),
            "AttributeDataType": each.get("attribute_data_type"),
            "Mutable": each.get("mutable"),
            "Required": each.get("required") or None,
        }
        if limits.get("min_length") is not None or limits.get("max_length") is not None:
            attribute["StringAttributeConstraints"] = {
                "MinLength": str(limits.get("min_length")),
                "MaxLength": str(limits.get("max_length")),
            }
        found.append({key: value for key, value in attribute.items() if value is not None})
    return found


def _logs(resource: Resource, state: State) -> Any:
    found = []
    for each in resource.get("log_delivery_configuration") or ():
        kind = each.get("destination_type")
        place = each.get("destination")
        details = (
            {"CloudWatchLogsDetails": {"LogGroup": place}}
            if kind == "cloudwatch-logs"
            else {"KinesisFirehoseDetails": {"DeliveryStream": place}}
        )
        found.append(
            {
                "LogType": each.get("log_type"),
                "LogFormat": each.get("log_format"),
                "DestinationType": kind,
                "DestinationDetails": details,
            }
        )
    return found


def _port(resource: Resource, state: State) -> Any:
    return resource.get("port")


def _engine_version(resource: Resource, state: State) -> Any:
    return resource.get("engine_version_actual") or resource.get("engine_version")


def _cache_version(resource: Resource, state: State) -> Any:
    # engine_version_actual has a third number, which our settings and the API's answer to them have not.
    actual = ".".join(resource.text("engine_version_actual").split(".")[:2])
    return resource.get("engine_version") or actual or None


def _window(name: str) -> Callable[[Resource, State], Any]:
    return lambda resource, state: resource.text(name).lower() or None


_maintenance_window: Final = _window("preferred_maintenance_window")
_cache_maintenance_window: Final = _window("maintenance_window")


def _nodes(resource: Resource, state: State) -> Any:
    return resource.get("num_cache_clusters") or resource.get("number_cache_clusters")


def _prevents(resource: Resource, state: State) -> Any:
    return resource.get("prevent_user_existence_errors")


def _expiry(resource: Resource, state: State) -> Any:
    # Terraform says 0 where nothing was set.
    return resource.get("retention_in_days") or None


_ROOTS: Final[Mapping[Any, tuple[str, ...]]] = {
    _tags: ("tags", "tags_all"),
    _tag_map: ("tags", "tags_all"),
    _ingress: ("ingress",),
    _assume: ("assume_role_policy",),
    _policies: ("inline_policy",),
    _group_parameters: ("parameter",),
    _schema: ("schema",),
}
"""What functions read that Terraform may have been told is secret."""


def _one(name: str, attribute: str = "id") -> Callable[[Resource], Mapping[str, str]]:
    return lambda resource: {name: resource.text(attribute)}


def _props(*fixed: str) -> frozenset[str]:
    return frozenset(fixed)


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::EC2::VPC": Kind(
        terraform=("aws_vpc",),
        fits=_vpc,
        identifier=_one("VpcId"),
        properties={
            "CidrBlock": "cidr_block",
            "EnableDnsSupport": "enable_dns_support",
            "EnableDnsHostnames": "enable_dns_hostnames",
            "Tags": _tags,
        },
        fixed=_props("CidrBlock"),
    ),
    "AWS::EC2::InternetGateway": Kind(
        terraform=("aws_internet_gateway",),
        fits=_gateway,
        identifier=_one("InternetGatewayId"),
        properties={"Tags": _tags},
    ),
    "AWS::EC2::VPCGatewayAttachment": Kind(
        terraform=("aws_internet_gateway_attachment", "aws_internet_gateway"),
        fits=_named(VpcId="vpc_id"),
        # The type that its read handler knows; a VPN gateway's would be VGW.
        identifier=lambda resource: {"AttachmentType": "IGW", "VpcId": resource.text("vpc_id")},
        properties={
            "VpcId": "vpc_id",
            "InternetGatewayId": lambda resource, state: (
                resource.get("internet_gateway_id") or resource.get("id")
            ),
        },
        fixed=_props("VpcId", "InternetGatewayId"),
    ),
    "AWS::EC2::Subnet": Kind(
        terraform=("aws_subnet",),
        fits=_named(VpcId="vpc_id", CidrBlock="cidr_block"),
        identifier=_one("SubnetId"),
        properties={
            "VpcId": "vpc_id",
            "CidrBlock": "cidr_block",
            "AvailabilityZone": "availability_zone",
            "MapPublicIpOnLaunch": "map_public_ip_on_launch",
            "Tags": _tags,
        },
        fixed=_props("VpcId", "CidrBlock", "AvailabilityZone"),
    ),
    "AWS::EC2::RouteTable": Kind(
        terraform=("aws_route_table",),
        fits=_route_table,
        identifier=_one("RouteTableId"),
        properties={"VpcId": "vpc_id", "Tags": _tags},
        fixed=_props("VpcId"),
    ),
    "AWS::EC2::Route": Kind(
        terraform=("aws_route",),
        fits=_named(RouteTableId="route_table_id", DestinationCidrBlock="destination_cidr_block"),
        identifier=lambda resource: {
            "RouteTableId": resource.text("route_table_id"),
            "CidrBlock": resource.text("destination_cidr_block"),
        },
        properties={
            "RouteTableId": "route_table_id",
            "DestinationCidrBlock": "destination_cidr_block",
            "GatewayId": "gateway_id",
            "NatGatewayId": "nat_gateway_id",
        },
        fixed=_props("RouteTableId", "DestinationCidrBlock"),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Kind(
        terraform=("aws_route_table_association",),
        fits=_named(SubnetId="subnet_id"),
        identifier=_one("Id"),
        properties={"SubnetId": "subnet_id", "RouteTableId": "route_table_id"},
        fixed=_props("SubnetId", "RouteTableId"),
    ),
    "AWS::EC2::SecurityGroup": Kind(
        terraform=("aws_security_group",),
        fits=_named(VpcId="vpc_id", GroupName="name"),
        identifier=_one("Id"),
        properties={
            "GroupName": "name",
            "GroupDescription": "description",
            "VpcId": "vpc_id",
            "SecurityGroupIngress": _ingress,
            "Tags": _tags,
        },
        fixed=_props("GroupName", "GroupDescription", "VpcId"),
        stays=_props("GroupDescription"),
        attributes={"GroupId": "id"},
    ),
    "AWS::EC2::VPCEndpoint": Kind(
        terraform=("aws_vpc_endpoint",),
        fits=_endpoint,
        identifier=_one("Id"),
        properties={
            "VpcEndpointType": "vpc_endpoint_type",
            "ServiceName": "service_name",
            "VpcId": "vpc_id",
            "SubnetIds": "subnet_ids",
            "SecurityGroupIds": "security_group_ids",
            "RouteTableIds": "route_table_ids",
            "PrivateDnsEnabled": "private_dns_enabled",
            "Tags": _tags,
        },
        fixed=_props("VpcEndpointType", "ServiceName", "VpcId"),
    ),
    "AWS::EC2::EIP": Kind(
        terraform=("aws_eip",),
        fits=lambda wanted, resource: NAMED if resource.tags.get("Name") == _name_tag(wanted) else NO,
        identifier=lambda resource: {
            "PublicIp": resource.text("public_ip"),
            "AllocationId": resource.text("id"),
        },
        properties={"Domain": "domain", "Tags": _tags},
        attributes={"AllocationId": "id"},
        reference="public_ip",
    ),
    "AWS::EC2::NatGateway": Kind(
        terraform=("aws_nat_gateway",),
        fits=_named(SubnetId="subnet_id"),
        identifier=_one("NatGatewayId"),
        properties={"AllocationId": "allocation_id", "SubnetId": "subnet_id", "Tags": _tags},
        fixed=_props("AllocationId", "SubnetId"),
    ),
    "AWS::Cognito::UserPool": Kind(
        terraform=("aws_cognito_user_pool",),
        fits=_named(UserPoolName="name"),
        identifier=_one("UserPoolId"),
        properties={
            "UserPoolName": "name",
            "DeletionProtection": lambda resource, state: resource.get("deletion_protection") or "INACTIVE",
            "UsernameAttributes": "username_attributes",
            "AutoVerifiedAttributes": "auto_verified_attributes",
            "UserAttributeUpdateSettings": {
                "AttributesRequireVerificationBeforeUpdate": (
                    "user_attribute_update_settings.0.attributes_require_verification_before_update"
                )
            },
            "AccountRecoverySetting": {"RecoveryMechanisms": _recovery},
            "AdminCreateUserConfig": {
                "AllowAdminCreateUserOnly": "admin_create_user_config.0.allow_admin_create_user_only"
            },
            "Schema": _schema,
            "MfaConfiguration": "mfa_configuration",
            "EnabledMfas": _mfas,
            "Policies": {
                "PasswordPolicy": {
                    "MinimumLength": "password_policy.0.minimum_length",
                    "RequireUppercase": "password_policy.0.require_uppercase",
                    "RequireLowercase": "password_policy.0.require_lowercase",
                    "RequireNumbers": "password_policy.0.require_numbers",
                    "RequireSymbols": "password_policy.0.require_symbols",
                    "TemporaryPasswordValidityDays": "password_policy.0.temporary_password_validity_days",
                }
            },
            "VerificationMessageTemplate": {
                "DefaultEmailOption": "verification_message_template.0.default_email_option",
                "EmailSubject": "verification_message_template.0.email_subject",
                "EmailMessage": "verification_message_template.0.email_message",
            },
            "UserPoolTags": _tag_map,
        },
        # UpdateUserPool takes neither.
        fixed=_props("UsernameAttributes", "Schema"),
        stays=_props("Schema"),
        attributes={"Arn": "arn", "ProviderName": "endpoint"},
    ),
    "AWS::Cognito::UserPoolClient": Kind(
        terraform=("aws_cognito_user_pool_client",),
        fits=_named(UserPoolId="user_pool_id", ClientName="name"),
        identifier=lambda resource: {
            "UserPoolId": resource.text("user_pool_id"),
            "ClientId": resource.text("id"),
        },
        properties={
            "ClientName": "name",
            "UserPoolId": "user_pool_id",
            "GenerateSecret": "generate_secret",
            "SupportedIdentityProviders": "supported_identity_providers",
            "AllowedOAuthFlowsUserPoolClient": "allowed_oauth_flows_user_pool_client",
            "AllowedOAuthFlows": "allowed_oauth_flows",
            "AllowedOAuthScopes": "allowed_oauth_scopes",
            "ExplicitAuthFlows": "explicit_auth_flows",
            "CallbackURLs": "callback_urls",
            "LogoutURLs": "logout_urls",
            "AccessTokenValidity": "access_token_validity",
            "IdTokenValidity": "id_token_validity",
            "RefreshTokenValidity": "refresh_token_validity",
            "TokenValidityUnits": {
                "AccessToken": "token_validity_units.0.access_token",
                "IdToken": "token_validity_units.0.id_token",
                "RefreshToken": "token_validity_units.0.refresh_token",
            },
            "EnableTokenRevocation": "enable_token_revocation",
            "PreventUserExistenceErrors": _prevents,
        },
        fixed=_props("GenerateSecret", "UserPoolId"),
    ),
    "AWS::Cognito::UserPoolDomain": Kind(
        terraform=("aws_cognito_user_pool_domain",),
        fits=_named(UserPoolId="user_pool_id"),
        identifier=lambda resource: {
            "UserPoolId": resource.text("user_pool_id"),
            "Domain": resource.text("domain"),
        },
        properties={"Domain": "domain", "UserPoolId": "user_pool_id"},
        fixed=_props("Domain", "UserPoolId"),
        reference="domain",
    ),
    "AWS::IAM::Role": Kind(
        terraform=("aws_iam_role",),
        fits=_named(RoleName="name"),
        identifier=_one("RoleName", "name"),
        properties={
            "RoleName": "name",
            "AssumeRolePolicyDocument": _assume,
            "Policies": _policies,
            "ManagedPolicyArns": _managed_policies,
            "Tags": _tags,
        },
        fixed=_props("RoleName"),
        attributes={"Arn": "arn"},
        reference="name",
    ),
    "AWS::SecretsManager::Secret": Kind(
        terraform=("aws_secretsmanager_secret",),
        fits=_named(Name="name"),
        identifier=_one("Id", "arn"),
        # A change of GenerateSecretString makes a new password; so does adding it.
        properties={"Name": "name", "Description": "description", "Tags": _tags},
        fixed=_props("Name"),
        unread=_props("GenerateSecretString"),
        attributes={"Id": "arn"},
        reference="arn",
    ),
    "AWS::RDS::DBSubnetGroup": Kind(
        terraform=("aws_db_subnet_group",),
        fits=_named(DBSubnetGroupName="name"),
        identifier=_one("DBSubnetGroupName", "name"),
        properties={
            "DBSubnetGroupName": "name",
            "DBSubnetGroupDescription": "description",
            "SubnetIds": "subnet_ids",
            "Tags": _tags,
        },
        fixed=_props("DBSubnetGroupName"),
        reference="name",
    ),
    "AWS::RDS::DBClusterParameterGroup": Kind(
        terraform=("aws_rds_cluster_parameter_group",),
        fits=_named(DBClusterParameterGroupName="name"),
        identifier=_one("DBClusterParameterGroupName", "name"),
        properties={
            "DBClusterParameterGroupName": "name",
            "Description": "description",
            "Family": "family",
            "Parameters": _group_parameters,
            "Tags": _tags,
        },
        fixed=_props("DBClusterParameterGroupName", "Description", "Family"),
        stays=_props("Description"),
        reference="name",
    ),
    "AWS::RDS::DBParameterGroup": Kind(
        terraform=("aws_db_parameter_group",),
        fits=_named(DBParameterGroupName="name"),
        identifier=_one("DBParameterGroupName", "name"),
        properties={
            "DBParameterGroupName": "name",
            "Description": "description",
            "Family": "family",
            "Parameters": _group_parameters,
            "Tags": _tags,
        },
        fixed=_props("DBParameterGroupName", "Description", "Family"),
        stays=_props("Description"),
        reference="name",
    ),
    "AWS::RDS::DBCluster": Kind(
        terraform=("aws_rds_cluster",),
        fits=_named(DBClusterIdentifier="cluster_identifier"),
        identifier=_one("DBClusterIdentifier", "cluster_identifier"),
        properties={
            "DBClusterIdentifier": "cluster_identifier",
            "Engine": "engine",
            "EngineVersion": _engine_version,
            "EngineLifecycleSupport": "engine_lifecycle_support",
            "DatabaseName": "database_name",
            "Port": _port,
            "ServerlessV2ScalingConfiguration": {
                "MinCapacity": "serverlessv2_scaling_configuration.0.min_capacity",
                "MaxCapacity": "serverlessv2_scaling_configuration.0.max_capacity",
                "SecondsUntilAutoPause": "serverlessv2_scaling_configuration.0.seconds_until_auto_pause",
            },
            "DBSubnetGroupName": "db_subnet_group_name",
            "VpcSecurityGroupIds": "vpc_security_group_ids",
            "DBClusterParameterGroupName": "db_cluster_parameter_group_name",
            "BackupRetentionPeriod": "backup_retention_period",
            "PreferredBackupWindow": "preferred_backup_window",
            "PreferredMaintenanceWindow": _maintenance_window,
            "StorageEncrypted": "storage_encrypted",
            "EnableIAMDatabaseAuthentication": "iam_database_authentication_enabled",
            "EnableHttpEndpoint": "enable_http_endpoint",
            "CopyTagsToSnapshot": "copy_tags_to_snapshot",
            "DeletionProtection": "deletion_protection",
            "Tags": _tags,
        },
        fixed=_props(
            "DBClusterIdentifier",
            "Engine",
            "DatabaseName",
            "DBSubnetGroupName",
            "StorageEncrypted",
            "MasterUsername",
        ),
        # A reference into the secret, which the state's own value is held against beforehand (plan.py).
        unread=_props("MasterUsername"),
        # What the import does with a password nobody can read back is not for us to find out.
        later=_props("MasterUserPassword"),
        reference="cluster_identifier",
        attributes={"Endpoint.Address": "endpoint", "ReadEndpoint.Address": "reader_endpoint"},
    ),
    "AWS::RDS::DBInstance": Kind(
        terraform=("aws_rds_cluster_instance",),
        fits=_named(DBInstanceIdentifier="identifier"),
        identifier=_one("DBInstanceIdentifier", "identifier"),
        properties={
            "DBInstanceIdentifier": "identifier",
            "DBClusterIdentifier": "cluster_identifier",
            "DBInstanceClass": "instance_class",
            "Engine": "engine",
            "DBParameterGroupName": "db_parameter_group_name",
            "PubliclyAccessible": "publicly_accessible",
            "AutoMinorVersionUpgrade": "auto_minor_version_upgrade",
            "EnablePerformanceInsights": "performance_insights_enabled",
            "PerformanceInsightsRetentionPeriod": "performance_insights_retention_period",
            "Tags": _tags,
        },
        fixed=_props("DBInstanceIdentifier", "DBClusterIdentifier", "Engine"),
        reference="identifier",
    ),
    "AWS::ElastiCache::SubnetGroup": Kind(
        terraform=("aws_elasticache_subnet_group",),
        fits=_named(CacheSubnetGroupName="name"),
        identifier=_one("CacheSubnetGroupName", "name"),
        properties={
            "CacheSubnetGroupName": "name",
            "Description": "description",
            "SubnetIds": "subnet_ids",
            "Tags": _tags,
        },
        fixed=_props("CacheSubnetGroupName"),
        reference="name",
    ),
    "AWS::ElastiCache::ParameterGroup": Kind(
        terraform=("aws_elasticache_parameter_group",),
        # CloudFormation makes names up, so ours stands in the description.
        fits=_named(Description="name"),
        identifier=_one("CacheParameterGroupName", "name"),
        properties={
            "CacheParameterGroupFamily": "family",
            "Description": "description",
            "Properties": _group_parameters,
            "Tags": _tags,
        },
        # ModifyCacheParameterGroup takes no description.
        fixed=_props("CacheParameterGroupFamily", "Description"),
        stays=_props("Description"),
        reference="name",
    ),
    "AWS::ElastiCache::ReplicationGroup": Kind(
        terraform=("aws_elasticache_replication_group",),
        fits=_named(ReplicationGroupId="replication_group_id"),
        identifier=_one("ReplicationGroupId", "replication_group_id"),
        properties={
            "ReplicationGroupId": "replication_group_id",
            "ReplicationGroupDescription": lambda resource, state: (
                resource.get("description") or resource.get("replication_group_description")
            ),
            "Engine": "engine",
            "EngineVersion": _cache_version,
            "CacheNodeType": "node_type",
            "NumCacheClusters": _nodes,
            "AutomaticFailoverEnabled": "automatic_failover_enabled",
            "MultiAZEnabled": "multi_az_enabled",
            "Port": "port",
            "TransitEncryptionEnabled": "transit_encryption_enabled",
            "AtRestEncryptionEnabled": "at_rest_encryption_enabled",
            "CacheParameterGroupName": "parameter_group_name",
            "CacheSubnetGroupName": "subnet_group_name",
            "SecurityGroupIds": "security_group_ids",
            "PreferredMaintenanceWindow": _cache_maintenance_window,
            "SnapshotWindow": "snapshot_window",
            "SnapshotRetentionLimit": "snapshot_retention_limit",
            "LogDeliveryConfigurations": _logs,
            "Tags": _tags,
        },
        fixed=_props("ReplicationGroupId", "AtRestEncryptionEnabled", "CacheSubnetGroupName", "Port"),
        reference="replication_group_id",
        attributes={"PrimaryEndPoint.Address": "primary_endpoint_address"},
    ),
    "AWS::Logs::LogGroup": Kind(
        terraform=("aws_cloudwatch_log_group",),
        fits=_named(LogGroupName="name"),
        identifier=_one("LogGroupName", "name"),
        properties={"LogGroupName": "name", "RetentionInDays": _expiry, "Tags": _tags},
        fixed=_props("LogGroupName"),
        attributes={"Arn": "arn"},
        reference="name",
    ),
}
"""By the type's name in CloudFormation; what others are told by (VPC, subnets, user pool) stands first."""

PARTS: Final[Mapping[str, str]] = {
    "aws_security_group_rule": "security_group_id",
    "aws_vpc_security_group_ingress_rule": "security_group_id",
    "aws_vpc_security_group_egress_rule": "security_group_id",
    "aws_iam_role_policy": "role",
    "aws_iam_role_policy_attachment": "role",
    "aws_secretsmanager_secret_version": "secret_id",
}
"""Terraform's resources that are a part of one of ours, and the attribute that names the whole."""

NOT_IN_AWS: Final = ("random_", "null_", "time_", "local_", "tls_", "terraform_")
"""How the types begin of what exists in Terraform's state alone."""
