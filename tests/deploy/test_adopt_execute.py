"""Import change sets against an account that answers in the shapes of botocore's service model.

No AWS that can be run here imports. What is asked goes through botocore's own validation; what is answered is
held against the operation's output shape.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from click.testing import CliRunner

from zedi import settings as settings_room
from zedi.cli import zedi
from zedi.cli.adopt import adopt as verb
from zedi.cli.destroy import NotConfirmedError
from zedi.deploy import DeployError
from zedi.deploy import target as target_room
from zedi.deploy.adopt import execute as room
from zedi.deploy.adopt import state
from zedi.deploy.adopt.execute import AdoptionBlockedError, adopt, standings
from zedi.deploy.adopt.plan import Adoption, survey
from zedi.deploy.events import PhaseDone, PhaseNote, PhasePlanned
from zedi.deploy.stacks import describe
from zedi.deploy.target import Target
from zedi.settings import Settings

ACCOUNT = "123456789012"
REGION = "ap-northeast-1"
FILE = Path(__file__).parent / "terraform" / "dev.json"
ENVIRONMENT = str(Path(__file__).parents[2] / "environments" / "dev.toml")
PASSWORD = "Terraform-made-password-1"
OLD = "terraform-00000000000000000000000001"
NEW = "cloudformation-000000000000000000000002"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)

Json = dict[str, Any]


class Account:
    """One account's CloudFormation and its one secret."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Json]] = []
        self.stacks: dict[str, Json] = {}
        self.change_sets: dict[str, Json] = {}
        self.versions = {OLD: ["AWSCURRENT"]}
        self.made = {OLD: START - timedelta(days=30)}
        self.regenerates = False
        """Whether importing the secret makes a new value."""
        self.fails = ""
        """The phase whose import AWS rolls back."""
        self.more: list[Json] = []
        """Changes that a change set has beside the imports."""
        self._asking = threading.local()  # some verbs ask in several threads
        self._clock = START

    def client(self, service: str, region: str, endpoint_url: str | None) -> Any:
        session: Any = boto3.session.Session(
            region_name=region, aws_access_key_id="x", aws_secret_access_key="x"
        )
        client = session.client(service)
        client.meta.events.register("provide-client-params.*.*", self._remember)
        client.meta.events.register("before-call.*.*", self._answer)
        return client

    def of(self, operation: str) -> list[Json]:
        return [params for name, params in self.asked if name == operation]

    def _remember(self, params: Json, **_: Any) -> None:
        self._asking.params = dict(params)

    def _answer(self, model: Any, **_: Any) -> tuple[Any, Json]:
        params = self._asking.params
        self.asked.append((model.name, params))
        body = getattr(self, f"_{model.name}")(params)
        if "Error" in body:
            return SimpleNamespace(status_code=400), {**body, "ResponseMetadata": {}}
        if model.output_shape is not None:
            problems = ParamValidator().validate(body, model.output_shape)
            assert not problems.has_errors(), problems.generate_report()
        return SimpleNamespace(status_code=200), {**body, "ResponseMetadata": {"HTTPStatusCode": 200}}

    def _now(self) -> datetime:
        self._clock += timedelta(seconds=1)
        return self._clock

    def _stack(self, name: str) -> Json | None:
        return next((each for each in self.stacks.values() if name in (each["name"], each["id"])), None)

    def _event(
        self, stack: Json, logical_id: str, kind: str, physical: str, status: str, why: str = ""
    ) -> None:
        stack["events"].append(
            {
                "StackId": stack["id"],
                "EventId": f"e{len(stack['events'])}",
                "StackName": stack["name"],
                "LogicalResourceId": logical_id,
                "PhysicalResourceId": physical,
                "ResourceType": kind,
                "Timestamp": self._now(),
                "ResourceStatus": status,
                "ResourceStatusReason": why,
            }
        )

    def _own(self, stack: Json, status: str) -> None:
        stack["status"] = status
        self._event(stack, stack["name"], "AWS::CloudFormation::Stack", stack["id"], status)

    # ---------------------------------------------------------------------------------- operations

    def _GetCallerIdentity(self, params: Json) -> Json:
        return {"Account": ACCOUNT, "UserId": "x", "Arn": f"arn:aws:iam::{ACCOUNT}:user/x"}

    def _DescribeStacks(self, params: Json) -> Json:
        stack = self._stack(params["StackName"])
        if stack is None:
            return error("ValidationError", f"Stack with id {params['StackName']} does not exist")
        if stack["status"] == "IMPORT_IN_PROGRESS":
            self._finish(stack)
        found = {"StackName": stack["name"], "StackId": stack["id"], "StackStatus": stack["status"]}
        return {"Stacks": [{**found, "CreationTime": START}]}

    def _CreateChangeSet(self, params: Json) -> Json:
        template = json.loads(params["TemplateBody"])
        stack = self._stack(params["StackName"])
        if stack is None:
            name = params["StackName"]
            arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{len(self.stacks)}"
            stack = {"name": name, "id": arn, "status": "REVIEW_IN_PROGRESS", "events": [], "resources": {}}
            self.stacks[name] = stack
        assert params["ChangeSetType"] == "IMPORT"
        assert "Outputs" not in template and not params.get("Tags")
        arn = stack["id"].replace(":stack/", ":changeSet/")
        self.change_sets[arn] = {"stack": stack, "imports": params["ResourcesToImport"], "template": template}
        return {"Id": arn, "StackId": stack["id"]}

    def _DescribeChangeSet(self, params: Json) -> Json:
        made = self.change_sets[params["ChangeSetName"]]
        changes = [
            {
                "Type": "Resource",
                "ResourceChange": {
                    "Action": "Import",
                    "LogicalResourceId": each["LogicalResourceId"],
                    "ResourceType": each["ResourceType"],
                    "PhysicalResourceId": physical(each),
                },
            }
            for each in made["imports"]
        ] + self.more
        return {
            "ChangeSetId": params["ChangeSetName"],
            "StackId": made["stack"]["id"],
            "StackName": made["stack"]["name"],
            "Status": "CREATE_COMPLETE",
            "Changes": changes,
        }

    def _DeleteChangeSet(self, params: Json) -> Json:
        del self.change_sets[params["ChangeSetName"]]
        return {}

    def _ExecuteChangeSet(self, params: Json) -> Json:
        assert "RetainExceptOnCreate" not in params, "a rollback would delete what was imported"
        made = self.change_sets.pop(params["ChangeSetName"])
        stack = made["stack"]
        self._own(stack, "IMPORT_IN_PROGRESS")
        stack["coming"], stack["template"] = made["imports"], made["template"]
        return {}

    def _finish(self, stack: Json) -> None:
        """What AWS does by itself."""
        coming = stack.pop("coming")
        if self.fails and stack["name"].endswith(self.fails):
            first = coming[0]
            why = "Resource of type 'X' with identifier 'y' was not found"
            self._event(stack, first["LogicalResourceId"], first["ResourceType"], "", "IMPORT_FAILED", why)
            self._regenerate(coming)
            self._own(stack, "IMPORT_ROLLBACK_IN_PROGRESS")
            self._own(stack, "IMPORT_ROLLBACK_COMPLETE")
            return
        for each in coming:
            stack["resources"][each["LogicalResourceId"]] = (each["ResourceType"], physical(each))
            self._event(
                stack, each["LogicalResourceId"], each["ResourceType"], physical(each), "IMPORT_COMPLETE"
            )
        self._regenerate(coming)
        self._own(stack, "IMPORT_COMPLETE")

    def _regenerate(self, coming: list[Json]) -> None:
        if self.regenerates and any(each["ResourceType"] == "AWS::SecretsManager::Secret" for each in coming):
            self.versions = {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}
            self.made[NEW] = self._now()

    def _DescribeStackEvents(self, params: Json) -> Json:
        stack = self._stack(params["StackName"])
        assert stack is not None
        if stack["status"] == "IMPORT_IN_PROGRESS" and not stack.pop("seen", False):
            stack["seen"] = True
        elif stack["status"] == "IMPORT_IN_PROGRESS":
            self._finish(stack)
        return {"StackEvents": stack["events"][::-1]}

    def _ListStackResources(self, params: Json) -> Json:
        stack = self._stack(params["StackName"])
        assert stack is not None
        return {
            "StackResourceSummaries": [
                {
                    "LogicalResourceId": name,
                    "PhysicalResourceId": identifier,
                    "ResourceType": kind,
                    "LastUpdatedTimestamp": START,
                    "ResourceStatus": "IMPORT_COMPLETE",
                }
                for name, (kind, identifier) in stack["resources"].items()
            ]
        }

    def _GetTemplate(self, params: Json) -> Json:
        stack = self._stack(params["StackName"])
        assert stack is not None
        return {"TemplateBody": json.dumps(stack["template"])}

    def _DeleteStack(self, params: Json) -> Json:
        stack = self._stack(params["StackName"])
        assert stack is not None and not stack["resources"]
        self._own(stack, "DELETE_COMPLETE")
        del self.stacks[stack["name"]]
        self.stacks[stack["id"]] = {**stack, "name": "(deleted)"}
        return {}

    def _ListSecretVersionIds(self, params: Json) -> Json:
        return {
            "Versions": [
                {"VersionId": version, "VersionStages": stages, "CreatedDate": self.made[version]}
                for version, stages in self.versions.items()
            ]
        }

    def _UpdateSecretVersionStage(self, params: Json) -> Json:
        assert self.versions[params["RemoveFromVersionId"]] == ["AWSCURRENT"]
        self.versions = {params["MoveToVersionId"]: [params["VersionStage"]]}
        return {"ARN": params["SecretId"]}


def error(code: str, message: str) -> Json:
    return {"Error": {"Code": code, "Message": message}}


def physical(entry: Json) -> str:
    """What AWS calls an imported resource: its identifier's values, or the last of them."""
    values = list(entry["ResourceIdentifier"].values())
    return "|".join(values) if entry["ResourceType"].startswith("AWS::EC2") else str(values[-1])


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account()
    clients: dict[str, Any] = {}

    def client(service: str, region: str, endpoint_url: str | None) -> Any:
        if service not in clients:
            clients[service] = account.client(service, region, endpoint_url)
        return clients[service]

    monkeypatch.setattr(target_room, "_client", client)
    return account


@pytest.fixture
def settings() -> Settings:
    return settings_room.load(ENVIRONMENT)


@pytest.fixture
def target(aws: Account) -> Target:
    return Target(REGION, ACCOUNT)


@pytest.fixture
def found(settings: Settings) -> Adoption:
    return survey(settings, state.load(FILE), ACCOUNT)


def test_phase_after_phase(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any
) -> None:
    """Each phase is one import of exactly what was shown, into a stack of our name; again does nothing."""
    assert adopt(settings, target, found, listener=heard) == ("networking", "security", "database", "cache")
    asked = aws.of("CreateChangeSet")
    assert [each["StackName"] for each in asked] == [
        f"zedi-dev-{name}" for name in ("networking", "security", "database", "cache")
    ]
    for request, phase in zip(asked, found.phases, strict=True):
        assert request["ResourcesToImport"] == [
            {
                "ResourceType": each.type,
                "LogicalResourceId": each.logical_id,
                "ResourceIdentifier": dict(each.identifier),
            }
            for each in phase.adopted
        ]
        given = {each["ParameterKey"]: each["ParameterValue"] for each in request["Parameters"]}
        assert given == dict(phase.parameters)
    assert all(each.plan.action == "import" for each in heard.of(PhaseDone))
    assert not aws.of("UpdateSecretVersionStage")

    assert set(standings(settings, target, found).values()) == {"done"}
    assert adopt(settings, target, found, listener=heard) == ()
    assert len(aws.of("CreateChangeSet")) == 4


def test_nothing_is_asked_that_changes_anything_but_stacks(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any
) -> None:
    """The resources themselves are never written to, and no password leaves this machine."""
    adopt(settings, target, found, listener=heard)
    assert {name for name, _ in aws.asked} == {
        "CreateChangeSet",
        "DescribeChangeSet",
        "DescribeStackEvents",
        "DescribeStacks",
        "ExecuteChangeSet",
        "ListSecretVersionIds",
    }
    assert PASSWORD not in repr(aws.asked) and PASSWORD not in repr(heard)


def test_an_import_that_makes_a_new_password(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any
) -> None:
    """The old one is current again, because the database knows no other; and it is told."""
    aws.regenerates = True
    adopt(settings, target, found, listener=heard)
    assert aws.versions == {OLD: ["AWSCURRENT"]}
    assert any("the old one is back" in note.text for note in heard.of(PhaseNote))


@pytest.mark.parametrize("fails", ["", "database"])
def test_a_new_password_that_an_interrupted_call_left(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any, fails: str
) -> None:
    """The next call finds it, whether AWS ended the import or rolled it back, and puts the old one back."""
    aws.regenerates, aws.fails = True, fails

    def interrupted(event: Any) -> None:
        if getattr(event, "status", "") == "IMPORT_IN_PROGRESS" and event.phase == "database":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(room, "_put_secrets_back", lambda *_: None)  # as a process that was killed
        adopt(settings, target, found, listener=interrupted)
    describe(target, "zedi-dev-database")  # meanwhile AWS goes on
    assert aws.versions[NEW] == ["AWSCURRENT"]
    aws.fails, aws.regenerates = "", False
    adopt(settings, target, found, listener=heard)
    assert aws.versions == {OLD: ["AWSCURRENT"]}
    assert [note.phase for note in heard.of(PhaseNote) if "the old one is back" in note.text] == ["database"]


@pytest.mark.parametrize("since", ["rotated", "deployed"])
def test_a_password_that_is_not_of_the_import(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any, since: str
) -> None:
    """What was made after the import, or has been deployed since, is nobody's to put back."""
    adopt(settings, target, found, listener=heard)
    aws.versions, aws.made[NEW] = {OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}, START + timedelta(days=1)
    if since == "deployed":
        aws.made[NEW] = aws.stacks["zedi-dev-database"]["events"][-1]["Timestamp"]
        aws.stacks["zedi-dev-database"]["status"] = "UPDATE_COMPLETE"
    adopt(settings, target, found, listener=heard)
    assert aws.versions[NEW] == ["AWSCURRENT"]


def test_an_old_password_that_cannot_be_told(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any
) -> None:
    """Where no older version is left to be found, the error says where to look."""
    adopt(settings, target, found, listener=heard)
    aws.versions = {NEW: ["AWSCURRENT"]}
    aws.made[NEW] = aws.stacks["zedi-dev-database"]["events"][-1]["Timestamp"]
    with pytest.raises(DeployError, match="no longer says which was current") as raised:
        adopt(settings, target, found, listener=heard)
    assert "list-secret-version-ids --include-deprecated" in raised.value.fix


def test_a_failed_import_goes_on_where_it_stopped(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any
) -> None:
    """AWS's reason is told; what was imported stays; the empty stack is made anew."""
    aws.fails = "database"
    with pytest.raises(DeployError) as failed:
        adopt(settings, target, found, listener=heard)
    assert "was not found" in failed.value.what and failed.value.where.startswith("database/")
    assert set(standings(settings, target, found).values()) == {"done", "import"}

    aws.fails = ""
    assert adopt(settings, target, found, listener=heard) == ("database", "cache")
    assert len(aws.of("DeleteStack")) == 1


def test_an_interrupted_import(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any
) -> None:
    """What AWS went on with is waited for, and not done twice."""

    def interrupted(event: Any) -> None:
        heard(event)
        if getattr(event, "status", "") == "IMPORT_IN_PROGRESS" and event.phase == "security":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopt(settings, target, found, listener=interrupted)
    assert aws.stacks["zedi-dev-security"]["status"] == "IMPORT_IN_PROGRESS"
    assert adopt(settings, target, found, listener=heard) == ("database", "cache")
    assert len(aws.of("CreateChangeSet")) == 4


def test_a_stack_of_other_things(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any
) -> None:
    """A stack of that name that holds another pool is named before anything is done."""
    adopt(settings, target, found, listener=heard)
    security = aws.stacks["zedi-dev-security"]
    security["resources"]["UserPool"] = ("AWS::Cognito::UserPool", "ap-northeast-1_Another00")
    del security["resources"]["WebClient"], aws.stacks["zedi-dev-networking"]
    asked = len(aws.of("CreateChangeSet"))
    with pytest.raises(AdoptionBlockedError) as refused:
        adopt(settings, target, found, listener=heard)
    assert "the stack has ap-northeast-1_Another00" in refused.value.what
    assert "WebClient: the state has 3abcd4efgh5ijkl6mnop7qrst8, the stack has none" in refused.value.what
    assert len(aws.of("CreateChangeSet")) == asked


def test_a_change_set_that_does_more(
    aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any
) -> None:
    """One that would do anything but import is thrown away."""
    change = {"Action": "Modify", "LogicalResourceId": "Vpc", "ResourceType": "AWS::EC2::VPC"}
    aws.more = [{"Type": "Resource", "ResourceChange": change}]
    with pytest.raises(DeployError, match="modify Vpc"):
        adopt(settings, target, found, listener=heard)
    assert not aws.of("ExecuteChangeSet") and not aws.change_sets
    assert not heard.of(PhasePlanned)


def test_what_is_in_the_way_stops_all(aws: Account, settings: Settings, target: Target, heard: Any) -> None:
    """While one resource cannot be taken over, none is."""
    text = FILE.read_text("utf-8").replace('"port": 6379', '"port": 6380')
    blocked = survey(settings, state.parse(text, "x.json"), ACCOUNT)
    with pytest.raises(AdoptionBlockedError, match="cache/ReplicationGroup: Port is 6380"):
        adopt(settings, target, blocked, listener=heard)
    assert not aws.asked


def test_nothing_of_this_environment(aws: Account, settings: Settings, target: Target, heard: Any) -> None:
    """Another account's state is told to be the wrong one."""
    elsewhere = survey(settings, state.load(FILE), "210987654321")
    assert {each.reason for each in elsewhere.left} >= {f"it is in account {ACCOUNT}"}
    with pytest.raises(AdoptionBlockedError, match="nothing in that state is of this environment"):
        adopt(settings, target, elsewhere, listener=heard)


def test_an_environment_of_this_machine(target: Target, found: Adoption, heard: Any) -> None:
    """There is nothing to take over."""
    local = settings_room.load(ENVIRONMENT.replace("dev.toml", "local.toml"))
    with pytest.raises(AdoptionBlockedError, match="runs on this machine"):
        adopt(local, target, found, listener=heard)


# ------------------------------------------------------------------------- taken over, not deployed yet


@pytest.fixture
def taken_over(aws: Account, settings: Settings, target: Target, found: Adoption, heard: Any) -> None:
    """Imported stacks have resources and no outputs."""
    adopt(settings, target, found, listener=heard)


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        (("credentials", "--yes"), "taken over and not deployed yet", "--only database"),
        (("credentials", "--json"), "taken over and not deployed yet", "--only database"),
        (("env",), "taken over and not deployed yet", "--only security"),
        (("logs",), "the service is not deployed", "--through realtime"),
    ],
)
def test_what_needs_outputs_says_so(taken_over: None, words: tuple[str, ...], what: str, fix: str) -> None:
    """Before the first deploy there is nothing to read them off: the command that gives them is named."""
    verb, *options = words
    done = CliRunner().invoke(zedi, [verb, ENVIRONMENT, *options])
    assert isinstance(done.exception, DeployError), done.exception
    assert what in done.exception.what and fix in done.exception.fix
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("outputs",), "it was taken over and not deployed yet"),
        (("outputs", "--json"), "{}"),
        (("status",), "IMPORT_COMPLETE"),
        (("status", "--json"), "IMPORT_COMPLETE"),
        (("diagram",), "zedi-dev"),
        (("diagram", "--json"), "zedi-dev-cluster"),
        (("handover",), "zedi-dev-cluster"),
        (("handover", "--json"), "zedi-dev-cluster"),
    ],
)
def test_what_looks_shows_what_was_taken_over(taken_over: None, words: tuple[str, ...], said: str) -> None:
    """Looking needs no outputs."""
    verb, *options = words
    done = CliRunner().invoke(zedi, [verb, ENVIRONMENT, *options])
    assert done.exit_code == 0, done.exception
    assert said in done.output


# ---------------------------------------------------------------------------------------------- the verb


def run(*words: str) -> Any:
    return CliRunner().invoke(verb, [ENVIRONMENT, "--terraform", str(FILE), *words])


def test_showing_changes_nothing(aws: Account) -> None:
    """What is taken over, what differs and how to go on; AWS is only asked what there is."""
    shown = run()
    assert shown.exit_code == 0, shown.output
    assert "  ← Cluster (AWS::RDS::DBCluster) = zedi-dev-cluster" in shown.output
    assert "      next deploy: SecurityGroupIngress: " in shown.output
    assert "  + TaskSecurityGroup (AWS::EC2::SecurityGroup): the next deploy makes it" in shown.output
    assert shown.output.rstrip().endswith("--execute")
    assert PASSWORD not in shown.output
    assert {name for name, _ in aws.asked} == {"GetCallerIdentity", "DescribeStacks"}


def test_json(aws: Account) -> None:
    """One object with everything that is shown, and neither a template nor a password."""
    shown = run("--json")
    found = json.loads(shown.stdout)
    assert shown.exit_code == 0
    assert [each["standing"] for each in found["phases"]] == ["import"] * 4
    assert "module.database.aws_rds_cluster.main" in found["terraform_state_rm"]
    assert PASSWORD not in shown.stdout and "GenerateSecretString" not in shown.stdout


def test_the_name_must_be_said(aws: Account) -> None:
    """Without it, or with another, nothing is done."""
    assert isinstance(run("--execute").exception, NotConfirmedError)
    assert isinstance(run("--execute", "--confirm", "prod").exception, NotConfirmedError)
    assert run("--confirm", "dev").exit_code == 2
    assert run("--json", "--execute").exit_code == 2
    assert not aws.of("CreateChangeSet")


def test_taking_over(aws: Account) -> None:
    """With the name it is done, and what to do with Terraform is said, quoted for a shell."""
    done = run("--execute", "--confirm", "dev")
    assert done.exit_code == 0, done.output
    assert "imports 20 resources" in done.output
    assert "never `terraform destroy`" in done.output
    assert "terraform state rm 'module.networking.aws_vpc_endpoint.interface[\"ecr.api\"]'" in done.output
    assert "taken over already" in run().output


def test_in_the_way(aws: Account, tmp_path: Path) -> None:
    """It is shown, with the settings that help, and the exit status is 1."""
    file = tmp_path / "state.json"
    file.write_text(FILE.read_text("utf-8").replace('"port": 6379', '"port": 6380'), "utf-8")
    shown = CliRunner().invoke(verb, [ENVIRONMENT, "--terraform", str(file)])
    assert shown.exit_code == 1
    assert "✗ ReplicationGroup" in shown.output and "port = 6380" in shown.output
    refused = CliRunner().invoke(verb, [ENVIRONMENT, "--terraform", str(file), "--execute"])
    assert isinstance(refused.exception, AdoptionBlockedError)


def test_nothing_to_take_over(aws: Account, tmp_path: Path, made_of: Callable[[Json], Path]) -> None:
    """A state without anything of ours ends with 1, so that no script takes it for done."""
    file = made_of({"format_version": "1.0", "values": {"root_module": {}}})
    shown = CliRunner().invoke(verb, [ENVIRONMENT, "--terraform", str(file)])
    assert shown.exit_code == 1
    assert "networking: nothing of it is in the state" in shown.output


@pytest.fixture
def made_of(tmp_path: Path) -> Callable[[Json], Path]:
    def write(data: Json) -> Path:
        file = tmp_path / "state.json"
        file.write_text(json.dumps(data), "utf-8")
        return file

    return write
