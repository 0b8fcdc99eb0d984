"""What is drawn: the boxes that there are, the arrows that references prove, and what is not deployed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from zedi.deploy.inventory import Inventory
from zedi.diagram.model import diagram
from zedi.diagram.words import WORDS
from zedi.phases import PHASES

ALL = tuple(phase.name for phase in PHASES)
Make = Callable[..., Inventory]


def test_all_of_dev(inventory_of: Make) -> None:
    """Every box is there, and every arrow with the ports that security groups open."""
    found = diagram(inventory_of("dev", *ALL))
    assert all(node.deployed for node in found.nodes) and found.notes == ()
    assert {(edge.start, edge.end): edge.label for edge in found.edges} == {
        ("browser", "cdn"): "HTTPS, WSS",
        ("browser", "pool"): "sign-in",
        ("cdn", "bucket"): "files",
        ("cdn", "balancer"): "/api, /realtime",
        ("balancer", "tasks"): ":1234, :8080",
        ("tasks", "database"): ":5432",
        ("tasks", "cache"): ":6379",
        ("tasks", "endpoints"): ":443",
        ("endpoints", "history"): "",
        ("endpoints", "repository"): "",
        ("endpoints", "secret"): "",
        ("endpoints", "logs"): "",
        ("alarms", "topic"): "",
        ("budget", "topic"): "",
    }
    tasks, database = found.node("tasks"), found.node("database")
    assert tasks is not None and "2 wanted, 1 run" in tasks.lines and tasks.where == "private"
    assert database is not None and database.title == "Aurora PostgreSQL 15.18"
    assert [(each.zone, each.cidr, each.public) for each in found.subnets if each.id] == [
        ("ap-northeast-1a", "10.0.100.0/24", False),
        ("ap-northeast-1c", "10.0.101.0/24", False),
        ("ap-northeast-1a", "10.0.0.0/24", True),
        ("ap-northeast-1c", "10.0.1.0/24", True),
    ]


@pytest.mark.parametrize(
    ("egress", "out", "where"),
    [("endpoints", "endpoints", "private"), ("nat", "nat", "private"), ("public", "gateway", "public")],
)
def test_the_way_out_is_the_deployed_one(inventory_of: Make, egress: str, out: str, where: str) -> None:
    """Endpoints, NAT or the internet gateway: one of them, and the tasks stand where they are."""
    found = diagram(inventory_of("dev", *ALL, networking__egress=egress))
    assert [edge.end for edge in found.edges if edge.start == "tasks" and edge.label == ":443"] == [out]
    tasks = found.node("tasks")
    assert tasks is not None and tasks.where == where


def test_an_arrow_needs_a_reference(inventory_of: Make) -> None:
    """Where no security group lets the tasks in, nothing leads to the database."""
    whole = inventory_of("dev", *ALL)
    database = whole.phase("database")
    resources = dict(database.template["Resources"])
    group = resources["SecurityGroup"]
    resources["SecurityGroup"] = {**group, "Properties": {**group["Properties"], "SecurityGroupIngress": []}}
    resources.pop("CredentialsAttachment")
    closed = replace(database, template={**database.template, "Resources": resources})
    phases = tuple(closed if each is database else each for each in whole.phases)
    found = diagram(replace(whole, phases=phases))
    assert found.between("tasks", "database") is None
    assert found.between("tasks", "cache") is not None


def test_what_is_not_deployed_is_said(inventory_of: Make) -> None:
    """Its boxes and arrows say so, a note names the phases, and a stack that is not well is named."""
    found = diagram(inventory_of("dev", "networking", "security", "database"))
    assert {node.id for node in found.nodes if node.deployed} == {
        "browser",
        "pool",
        "database",
        "endpoints",
        "secret",
    }
    assert [(edge.start, edge.end) for edge in found.edges if edge.deployed] == [
        ("browser", "pool"),
        ("endpoints", "secret"),
    ]
    assert found.notes == ("Not deployed (dashed): cache, realtime, cdn, monitoring",)
    nothing = diagram(inventory_of("dev"), "ja")
    assert not any(node.deployed for node in nothing.nodes if node.id != "browser")
    assert nothing.notes == (WORDS["ja"]["nothing"],)
    whole = inventory_of("dev", *ALL)
    stack = whole.phases[0].stack
    assert stack is not None
    ill = replace(whole.phases[0], stack=replace(stack, status="UPDATE_ROLLBACK_FAILED"))
    notes = diagram(replace(whole, phases=(ill, *whole.phases[1:]))).notes
    assert notes == ("networking is UPDATE_ROLLBACK_FAILED",)


def test_a_template_that_nobody_can_read_is_no_reason_to_fail(inventory_of: Make) -> None:
    """What another tool has deployed as YAML is not drawn."""
    whole = inventory_of("dev", *ALL)
    unread = tuple(replace(each, template={}) for each in whole.phases)
    assert [node.id for node in diagram(replace(whole, phases=unread)).nodes] == ["browser"]


def test_both_languages_have_the_same_words() -> None:
    """Keys, and what is to be filled in."""
    assert list(WORDS["en"]) == list(WORDS["ja"])
    for key, words in WORDS["en"].items():
        filled = {part.partition("}")[0] for part in words.split("{")[1:]}
        assert filled == {part.partition("}")[0] for part in WORDS["ja"][key].split("{")[1:]}, key
