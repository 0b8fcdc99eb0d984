"""Terraform's state held against our templates: what is whose, what differs, what is in the way."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zedi import settings as settings_room
from zedi.deploy.adopt import known, state
from zedi.deploy.adopt.plan import ADOPTABLE, SECRET, Adopted, Adoption, survey
from zedi.deploy.adopt.settings import toml
from zedi.deploy.adopt.state import StateError
from zedi.phases import PHASES
from zedi.settings import Settings

ACCOUNT = "123456789012"
FILE = Path(__file__).parent / "terraform" / "dev.json"
ENVIRONMENTS = Path(__file__).parents[2] / "environments"
PASSWORD = "Terraform-made-password-1"

Json = dict[str, Any]
Edit = Callable[[Json], None]


@pytest.fixture
def made() -> Json:
    """The state of the platform as Terraform made it, to be changed by a test."""
    data: Json = json.loads(FILE.read_text("utf-8"))
    return data


def held(made: Json, more: str = "") -> Adoption:
    settings = settings_room.parse(f'name = "dev"\n{more}', "dev.toml")
    return survey(settings, state.parse(json.dumps(made), "dev.json"), ACCOUNT)


def module(made: Json, name: str) -> list[Json]:
    modules = made["values"]["root_module"]["child_modules"]
    resources: list[Json] = next(each for each in modules if each["address"] == f"module.{name}")["resources"]
    return resources


def all_resources(made: Json) -> Iterator[Json]:
    for each in made["values"]["root_module"]["child_modules"]:
        yield from each["resources"]


def one(made: Json, address: str) -> Json:
    return next(each for each in all_resources(made) if each["address"] == f"module.{address}")


def of(found: Adoption, phase: str, logical_id: str) -> Adopted:
    return next(each for each in found.adopted if (each.phase, each.logical_id) == (phase, logical_id))


def template(found: Adoption, phase: str) -> Json:
    text = next(each.template for each in found.phases if each.phase == phase)
    return dict(json.loads(text))


def changes(adopted: Adopted) -> dict[str, tuple[str, str]]:
    return {
        each.path: (each.actual, each.template)
        for each in adopted.differences
        if not each.stays and "Tags" not in each.path
    }


# --------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ('{"format_version": "1.0"}', "is an empty state"),
        ('{"format_version": "1.0", "values": {"root_module": {"resou', "is cut off"),
        ("# module.database.aws_rds_cluster.main:\nresource", "was -json left out?"),
        ('{"version": 4, "lineage": "x", "serial": 3, "resources": []}', "terraform.tfstate"),
        ('{"format_version": "1.2", "planned_values": {}, "resource_changes": []}', "is a plan"),
        ('{"format_version": "2.0", "values": {}}', "has format_version 2.0"),
        ('{"Resources": {}}', "it has no format_version"),
        ("[]", "is JSON, but no state"),
        ('{"format_version": "1.0", "values": []}', "its values have another form"),
        ('{"format_version": "1.0", "values": {"root_module": {"resources": [1]}}}', "another form"),
        ('{"format_version": "1.0", "values": {"root_module": {"resources": [{}]}}}', "another form"),
    ],
)
def test_another_file(text: str, says: str) -> None:
    """It is told what it is instead, and which command makes the right one."""
    with pytest.raises(StateError) as error:
        state.parse(text, "x.json")
    assert says in error.value.what
    assert "terraform show -json" in error.value.fix


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder and a file that is not there are told from one with the wrong text."""
    with pytest.raises(StateError, match="is a folder"):
        state.load(tmp_path)
    with pytest.raises(StateError, match="no such file"):
        state.load(tmp_path / "state.json")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\x80\x81")
    with pytest.raises(StateError, match="cannot be read"):
        state.load(binary)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_written_on_windows(encoding: str, tmp_path: Path) -> None:
    """PowerShell's `>` writes UTF-16, or a byte order mark before UTF-8."""
    file = tmp_path / "state.json"
    file.write_text(FILE.read_text("utf-8"), encoding)
    assert state.load(file) == state.State(str(file), "1.9.8", state.load(FILE).resources)


def test_no_cut_of_a_state_is_taken_for_one() -> None:
    """Wherever writing it stopped, it is an error that shows nothing of what stands in it."""
    text = FILE.read_text("utf-8")
    for end in range(0, len(text) - 2, 997):
        with pytest.raises(StateError) as error:
            state.parse(text[:end], "x.json")
        assert PASSWORD not in str(error.value)


def test_resources_of_every_module_and_no_data(made: Json) -> None:
    """Modules in modules count, data sources do not, and secrets stand in no representation."""
    made["values"]["root_module"]["child_modules"] = [
        {"address": "module.all", "child_modules": made["values"]["root_module"]["child_modules"]}
    ]
    read = state.parse(json.dumps(made), "x.json")
    assert len(read.resources) == sum(
        each["mode"] == "managed"
        for part in made["values"]["root_module"]["child_modules"][0]["child_modules"]
        for each in part["resources"]
    )
    assert PASSWORD not in repr(read)
    assert PASSWORD not in repr(held(made))


# ------------------------------------------------------------------------------------- what is whose


def test_all_of_the_platform(made: Json) -> None:
    """Everything that Terraform made is taken over; what it had not is made by the next deploy."""
    found = held(made)
    assert found.blocked == ()
    assert {each.phase: [new.logical_id for new in each.created] for each in found.phases} == {
        "networking": ["AlbSecurityGroup", "TaskSecurityGroup"],
        "security": [],
        "database": ["CredentialsAttachment"],
        "cache": [],
    }
    assert len(found.adopted) == 38
    assert of(found, "security", "UserPool").identifier == {"UserPoolId": "ap-northeast-1_Ab1Cd2Ef3"}
    assert of(found, "networking", "InternetRoute").identifier == {
        "RouteTableId": "rtb-0aaa1111bbbb00001",
        "CidrBlock": "0.0.0.0/0",
    }
    alone = [each.address for each in found.left if not each.part_of]
    assert alone == ["module.database.random_password.master"]
    assert found.warnings == () and found.suggestions == {}


def test_terraform_forgets_all_that_is_taken_over(made: Json) -> None:
    """The resources and their parts, each once; not what stays Terraform's."""
    addresses = held(made).addresses
    managed = {each["address"] for each in all_resources(made) if each["mode"] == "managed"}
    assert set(addresses) == managed - {"module.database.random_password.master"}
    assert len(addresses) == len(set(addresses))


def test_the_order_in_the_state_means_nothing(made: Json) -> None:
    """Resources are told by what they are."""
    before = held(made)
    for each in made["values"]["root_module"]["child_modules"]:
        each["resources"].reverse()
    made["values"]["root_module"]["child_modules"].reverse()
    assert held(made).phases == before.phases


def test_names_in_terraform_mean_nothing(made: Json) -> None:
    """Another name, a count and a for_each are the same resource."""
    for number, each in enumerate(all_resources(made)):
        each.update(address=f'aws.x["{number}"]', name="x")
    assert len(held(made).adopted) == 38


def test_another_vpc_with_the_same_addresses(made: Json) -> None:
    """The one with our name is ours; one that names another environment never is."""
    other = copy.deepcopy(one(made, "networking.aws_vpc.main"))
    other["address"] = "module.staging.aws_vpc.main"
    other["values"].update(id="vpc-0staging", tags_all={"Name": "zedi-staging-vpc", "Environment": "staging"})
    module(made, "networking").insert(0, other)
    found = held(made)
    assert of(found, "networking", "Vpc").physical_id == "vpc-0aaa1111bbbb2222c"
    assert "module.staging.aws_vpc.main" in [each.address for each in found.left]

    module(made, "networking").remove(one(made, "networking.aws_vpc.main"))
    found = held(made)
    assert "Vpc" in [each.logical_id for each in found.phases[0].created]
    assert found.phases[0].adopted == ()


def test_two_that_fit(made: Json) -> None:
    """Neither is taken: both are named."""
    twin = copy.deepcopy(one(made, "security.aws_cognito_user_pool.main"))
    twin["address"] = "module.security.aws_cognito_user_pool.twin"
    twin["values"]["id"] = "ap-northeast-1_Twin00000"
    module(made, "security").append(twin)
    blocked = {each.logical_id: each for each in held(made).blocked}
    assert "ambiguous" in blocked["UserPool"].reason
    assert "user_pool.main" in blocked["UserPool"].address and "user_pool.twin" in blocked["UserPool"].address


def test_a_cluster_elsewhere(made: Json) -> None:
    """One of the same name in another region or account is not ours."""
    cluster = one(made, "database.aws_rds_cluster.main")["values"]
    cluster["arn"] = cluster["arn"].replace("ap-northeast-1", "us-west-2")
    found = held(made)
    assert [each.logical_id for each in found.phases[2].created if each.empty] == ["Cluster"]
    reasons = {each.address: each.reason for each in found.left}
    assert reasons["module.database.aws_rds_cluster.main"] == "it is in us-west-2"

    cluster["arn"] = "arn:aws:rds:ap-northeast-1:210987654321:cluster:zedi-dev-cluster"
    reasons = {each.address: each.reason for each in held(made).left}
    assert reasons["module.database.aws_rds_cluster.main"] == "it is in account 210987654321"


def test_tainted_and_deposed(made: Json) -> None:
    """What Terraform means to replace is in the way; what it means to delete is nobody's."""
    cluster = one(made, "database.aws_rds_cluster.main")
    old = copy.deepcopy(cluster)
    old["deposed_key"] = "0a1b2c3d"
    module(made, "database").append(old)
    found = held(made)
    assert of(found, "database", "Cluster").address == "module.database.aws_rds_cluster.main"
    assert any("deposed" in each.reason for each in found.left)

    cluster["tainted"] = True
    blocked = {each.logical_id: each.reason for each in held(made).blocked}
    assert "terraform untaint 'module.database.aws_rds_cluster.main'" in blocked["Cluster"]
    assert "Instance1" in blocked


def test_route_tables_by_their_subnets(made: Json) -> None:
    """A table without our name is told by the subnets that are tied to it."""
    for kind in ("public", "private"):
        one(made, f"networking.aws_route_table.{kind}")["values"].update(tags={}, tags_all={})
    found = held(made)
    assert of(found, "networking", "PublicRouteTable").physical_id == "rtb-0aaa1111bbbb00001"
    assert of(found, "networking", "PrivateRouteTable").physical_id == "rtb-0aaa1111bbbb00002"


def test_one_route_table_for_all(made: Json) -> None:
    """It cannot be both of ours."""
    module(made, "networking").remove(one(made, "networking.aws_route_table.private"))
    for number in (0, 1):
        association = one(made, f"networking.aws_route_table_association.private[{number}]")
        association["values"]["route_table_id"] = "rtb-0aaa1111bbbb00001"
    blocked = {each.logical_id: each.reason for each in held(made).blocked}
    assert "PublicRouteTable as well" in blocked["PrivateRouteTable"]
    assert "refers to what is not taken over" in blocked["PrivateSubnet1Routes"]


def test_a_route_inside_of_its_table(made: Json) -> None:
    """It is one of ours all the same, and Terraform has no address of its own to forget."""
    module(made, "networking").remove(one(made, "networking.aws_route.internet"))
    found = held(made)
    route = of(found, "networking", "InternetRoute")
    assert route.physical_id == "rtb-0aaa1111bbbb00001|0.0.0.0/0"
    assert route.address not in found.addresses
    assert not any("inline" in each.address for each in found.left)


@pytest.mark.parametrize("kind", ["aws_security_group_rule", "aws_vpc_security_group_ingress_rule"])
def test_rules_that_are_resources(kind: str, made: Json) -> None:
    """They are parts of their group, and count once where the group lists them too."""
    before = held(made)
    group = one(made, "database.aws_security_group.aurora")["values"]
    rule = {"security_group_id": group["id"], "from_port": 5432, "to_port": 5432}
    rule |= (
        {"type": "ingress", "protocol": "tcp", "cidr_blocks": ["10.0.0.0/16"]}
        if kind == "aws_security_group_rule"
        else {"ip_protocol": "tcp", "cidr_ipv4": "10.0.0.0/16"}
    )
    address = f"module.database.{kind}.vpc"
    entry = {"address": address, "mode": "managed", "type": kind, "name": "vpc", "values": rule}
    module(made, "database").append({**entry, "sensitive_values": {}})
    group["ingress"][0]["description"] = ""
    found = held(made)
    rules = template(found, "database")["Resources"]["SecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert rules == [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "CidrIp": "10.0.0.0/16"}]
    assert next(each.part_of for each in found.left if each.address == address).endswith("aurora")
    assert len(found.adopted) == len(before.adopted)


# ------------------------------------------------------------------------------------------ what differs


def test_what_the_next_deploy_changes(made: Json) -> None:
    """All that it does, and nothing that would replace anything."""
    found = held(made)
    listed = {each.logical_id: changes(each) for each in found.adopted if changes(each)}
    assert set(listed) == {
        "DbCredentials",
        "SubnetGroup",
        "SecurityGroup",
        "Cluster",
        "Instance1",
        "ReplicationGroup",
    }
    assert listed["Cluster"] == {
        "EngineLifecycleSupport": (
            "open-source-rds-extended-support",
            "open-source-rds-extended-support-disabled",
        ),
        "MasterUserPassword": (SECRET, "what the secret holds"),
    }
    assert listed["Instance1"] == {"AutoMinorVersionUpgrade": ("true", "false")}
    stays = {(each.type, one.path) for each in found.adopted for one in each.differences if one.stays}
    assert stays == {
        ("AWS::EC2::SecurityGroup", "GroupDescription"),
        ("AWS::RDS::DBClusterParameterGroup", "Description"),
        ("AWS::RDS::DBParameterGroup", "Description"),
        ("AWS::ElastiCache::ParameterGroup", "Description"),
    }


def cluster(**values: Any) -> Edit:
    return lambda made: one(made, "database.aws_rds_cluster.main")["values"].update(values)


def cache(**values: Any) -> Edit:
    return lambda made: one(made, "cache.aws_elasticache_replication_group.main")["values"].update(values)


def vpc(made: Json) -> None:
    """The whole network lies elsewhere."""
    for each in module(made, "networking"):
        text = json.dumps(each["values"]).replace('"10.0.', '"10.7.')
        each["values"] = json.loads(text)


@pytest.mark.parametrize(
    ("edit", "suggested"),
    [
        (
            cluster(serverlessv2_scaling_configuration=[{"min_capacity": 1, "max_capacity": 8}]),
            {"database.min_acu": 1.0, "database.max_acu": 8.0},
        ),
        (cluster(backup_retention_period=14), {"database.backup_retention_days": 14}),
        (cluster(deletion_protection=True), {"database.deletion_protection": True}),
        (cluster(port=5433), {"database.port": 5433}),
        (
            cluster(preferred_maintenance_window="Mon:04:00-Mon:05:00"),
            {"database.maintenance_window": "mon:04:00-mon:05:00"},
        ),
        (cluster(engine_version="16.4", engine_version_actual="16.4"), {"database.engine_version": "16.4"}),
        (cache(engine_version="7.0"), {"cache.engine_version": "7.0"}),
        (cache(node_type="cache.t4g.small"), {"cache.node_type": "cache.t4g.small"}),
        (vpc, {"networking.vpc_cidr": "10.7.0.0/16"}),
    ],
)
def test_settings_that_say_what_is_there(edit: Edit, suggested: Json, made: Json) -> None:
    """They are proposed, and with them that difference is gone."""
    edit(made)
    found = held(made)
    assert found.suggestions == suggested
    after = held(made, toml(found.suggestions))
    assert not after.suggestions
    if edit is vpc:
        assert not after.blocked


def test_a_subnet_in_another_zone(made: Json) -> None:
    """It would be replaced: it is in the way, and so is what refers to it, until the settings say so."""
    for kind in ("public", "private"):
        subnet = one(made, f"networking.aws_subnet.{kind}[1]")["values"]
        subnet["availability_zone"] = "ap-northeast-1d"
    found = held(made)
    blocked = {each.logical_id: each.reason for each in found.blocked}
    assert "AvailabilityZone is ap-northeast-1d" in blocked["PublicSubnet2"]
    assert "PublicSubnet2Routes" in blocked
    assert found.suggestions == {"networking.availability_zones": ["ap-northeast-1a", "ap-northeast-1d"]}
    assert held(made, toml(found.suggestions)).blocked == ()


@pytest.mark.parametrize(
    ("edit", "logical_id", "says"),
    [
        (cluster(database_name="notes"), "Cluster", "DatabaseName is notes"),
        (cluster(storage_encrypted=False), "Cluster", "StorageEncrypted is false"),
        (cluster(db_subnet_group_name="default"), "Cluster", "DBSubnetGroupName is default"),
        (cluster(master_username="postgres"), "Cluster", "its master user is postgres"),
        (cluster(master_password="another"), "Cluster", "its secret holds another password"),
        (cluster(manage_master_user_password=True), "Cluster", "RDS keeps its master password"),
        (cache(port=6380), "ReplicationGroup", "Port is 6380"),
        (cache(at_rest_encryption_enabled=False), "ReplicationGroup", "AtRestEncryptionEnabled is false"),
    ],
)
def test_what_can_never_be_changed(edit: Edit, logical_id: str, says: str, made: Json) -> None:
    """It is in the way, with what is there and what the template says; no password is shown."""
    edit(made)
    found = held(made)
    blocked = {each.logical_id: each.reason for each in found.blocked}
    assert says in blocked[logical_id]
    assert "another" not in blocked[logical_id] or PASSWORD not in blocked[logical_id]
    assert PASSWORD not in repr(found) + "".join(each.template for each in found.phases)


def test_a_secret_that_is_not_there(made: Json) -> None:
    """The cluster cannot be taken over without it: a new one would have another password."""
    module(made, "database").remove(one(made, "database.aws_secretsmanager_secret.db_credentials"))
    found = held(made)
    blocked = {each.logical_id: each.reason for each in found.blocked}
    assert (
        "MasterUsername cannot be changed later and refers to what is not taken over (DbCredentials)"
        in (blocked["Cluster"])
    )


def test_what_terraform_calls_secret_is_not_shown(made: Json) -> None:
    """A difference in it is listed without its value, and proposes no setting."""
    web = one(made, "security.aws_cognito_user_pool_client.web")
    web["values"]["callback_urls"] = ["https://hidden.example.com/callback"]
    web["sensitive_values"]["callback_urls"] = [True]
    found = held(made)
    assert changes(of(found, "security", "WebClient"))["CallbackURLs"][0] == SECRET
    assert found.suggestions == {} and "hidden" not in repr(found)


def test_what_cognito_would_put_back(made: Json) -> None:
    """A trigger that no template says is warned of, by its name."""
    pool = one(made, "security.aws_cognito_user_pool.main")["values"]
    pool["lambda_config"] = [{"post_confirmation": "arn:aws:lambda:ap-northeast-1:123456789012:function:x"}]
    assert any("UserPool has lambda_config" in each for each in held(made).warnings)


def test_half_a_state(made: Json) -> None:
    """Each phase stands for itself; what holds data and is missing is told to be made anew."""
    made["values"]["root_module"]["child_modules"] = [
        each
        for each in made["values"]["root_module"]["child_modules"]
        if each["address"] == "module.security"
    ]
    found = held(made)
    assert [len(each.adopted) for each in found.phases] == [0, 5, 0, 0]
    assert {new.logical_id for phase in found.phases for new in phase.created if new.empty} == {
        "DbCredentials",
        "Cluster",
        "SlowLog",
        "EngineLog",
        "ReplicationGroup",
    }


# ---------------------------------------------------------------------------------- the import's template


def test_what_an_import_carries(made: Json) -> None:
    """Only what is taken over, retained, with what is there; no outputs; nothing that makes a password."""
    found = held(made)
    for phase in found.phases:
        body = template(found, phase.phase)
        assert set(body) <= {"Description", "Parameters", "Conditions", "Resources"}
        assert set(body["Resources"]) == {each.logical_id for each in phase.adopted}
        assert all(each["DeletionPolicy"] == "Retain" for each in body["Resources"].values())
        assert set(body.get("Parameters", {})) == set(phase.parameters)
    database = template(found, "database")["Resources"]
    assert "MasterUserPassword" not in database["Cluster"]["Properties"]
    assert database["Cluster"]["Properties"]["EngineLifecycleSupport"] == "open-source-rds-extended-support"
    assert {"Key": "ManagedBy", "Value": "terraform"} in database["Cluster"]["Properties"]["Tags"]
    # The next template has it in the same words: another one would make a new password.
    ours = PHASES[2].build(settings_room.load("dev", ENVIRONMENTS)).to_dict()["Resources"]
    generate = "GenerateSecretString"
    assert database["DbCredentials"]["Properties"][generate] == ours["DbCredentials"]["Properties"][generate]


def test_the_next_deploy_replaces_nothing(made: Json) -> None:
    """What can never be changed stands in both templates in the same words."""
    found = held(made)
    for phase in found.phases:
        ours = next(each for each in PHASES if each.name == phase.phase)
        full = ours.build(settings_room.load("dev", ENVIRONMENTS)).to_dict()["Resources"]
        for logical_id, imported in template(found, phase.phase)["Resources"].items():
            for name in known.KINDS[imported["Type"]].fixed:
                assert imported["Properties"].get(name) == full[logical_id]["Properties"].get(name)


def test_cfn_lint_of_what_is_imported(made: Json, tmp_path: Path) -> None:
    """It finds nothing wrong with the reduced templates, but that a zone is named."""
    found = held(made)
    for phase in found.phases:
        (tmp_path / f"{phase.phase}.json").write_text(phase.template, "utf-8")
    arguments = ["--regions", "ap-northeast-1", "--ignore-checks", "W3010", "--format", "parseable"]
    files = sorted(map(str, tmp_path.iterdir()))
    result = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *arguments, "--template", *files],
        capture_output=True,
        text=True,
    )
    assert (len(files), result.returncode, result.stdout + result.stderr) == (4, 0, "")


# --------------------------------------------------------------------------- the table, against the schemas


def settings_of_all() -> Iterator[Settings]:
    for file in sorted(ENVIRONMENTS.glob("*.toml")):
        yield settings_room.load(str(file))
    for egress in ("public", "nat"):
        yield settings_room.parse(f'name = "x"\n[networking]\negress = "{egress}"\n', "x.toml")


def ours_of_all() -> dict[str, set[str]]:
    """The properties that our templates give each type, under any settings that we have."""
    found: dict[str, set[str]] = {}
    for settings in settings_of_all():
        for phase in PHASES:
            if phase.name in ADOPTABLE:
                for each in phase.build(settings).to_dict()["Resources"].values():
                    found.setdefault(each["Type"], set()).update(each.get("Properties", {}))
    return found


@pytest.fixture(scope="module")
def schemas() -> Callable[[str], Json]:
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    return lambda kind: dict(PROVIDER_SCHEMA_MANAGER.get_resource_schema("ap-northeast-1", kind).schema)


def names(paths: list[str] | None) -> set[str]:
    return {path.removeprefix("/properties/") for path in paths or ()}


def test_the_table_knows_every_property() -> None:
    """Each property of each type that a template may have is read, or said not to be; one type is new."""
    ours = ours_of_all()
    assert set(ours) - set(known.KINDS) == {"AWS::SecretsManager::SecretTargetAttachment"}
    assert set(known.KINDS) <= set(ours)
    for kind, properties in ours.items():
        if kind in known.KINDS:
            table = known.KINDS[kind]
            assert properties == {*table.properties, *table.unread, *table.later}, kind


@pytest.mark.parametrize("kind", sorted(known.KINDS))
def test_the_table_against_the_schema(kind: str, schemas: Callable[[str], Json]) -> None:
    """Identifiers are the schema's primary ones, importable; what can only be created is fixed."""
    schema, table = schemas(kind), known.KINDS[kind]
    identifier = table.identifier(state.Resource("x", "x", {}))
    assert list(identifier) == [path.removeprefix("/properties/") for path in schema["primaryIdentifier"]]
    assert "read" in schema["handlers"]
    told = {path.replace("/", ".") for path in names(schema.get("readOnlyProperties"))}
    assert set(table.attributes) <= told
    used = {*table.properties, *table.unread, *table.later}
    assert used <= set(schema["properties"])
    assert names(schema.get("createOnlyProperties")) & used <= table.fixed
    # These AWS changes in place; the rest of what is "conditional" it does not.
    in_place = {"AutoMinorVersionUpgrade", "DBParameterGroupName"}
    assert names(schema.get("conditionalCreateOnlyProperties")) & used <= table.fixed | in_place
    assert table.stays <= table.fixed
