"""A plan in a file, and each reason for which it may not be carried out any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zedi.deploy import DeployError, saved
from zedi.deploy.execute import Request
from zedi.deploy.plan import Change, PhasePlan, Plan, Source, secret_digest, template_hash
from zedi.deploy.saved import Present, differences, unlike_outline
from zedi.deploy.stacks import Stack

ARN = "arn:aws:cloudformation:ap-northeast-1:123456789012:stack/zedi-dev-cache/1"
CHANGED = datetime(2026, 11, 23, 12, tzinfo=UTC)

PLANNED = PhasePlan(
    phase="cache",
    stack="zedi-dev-cache",
    action="update",
    changes=(Change("modify", "Redis", "AWS::ElastiCache::ReplicationGroup"),),
    parameters=(("Password", "****"), ("VpcId", "vpc-1")),
    template_sha256=template_hash("{}"),
    stack_id=ARN,
    change_set="arn:change-set",
    stack_changed=CHANGED.isoformat(),
    secrets=(("Password", secret_digest("x")),),
    sources=(Source("Later", "database", "output of database"),),
)
STACK = Stack("zedi-dev-cache", ARN, "UPDATE_COMPLETE", "", {}, {}, changed=CHANGED)
REQUEST = Request("cache", "zedi-dev-cache", "{}", {"Password": "x", "VpcId": "vpc-1"}, {})
NOW = Present(REQUEST, STACK, "AVAILABLE")
NEW = replace(PLANNED, action="create", stack_changed="")


def asking(**parameters: str) -> Present:
    return replace(NOW, request=replace(REQUEST, parameters=parameters))


@pytest.mark.parametrize(
    ("planned", "now"),
    [
        (PLANNED, NOW),
        (replace(PLANNED, action="none", change_set=None), replace(NOW, change_set="")),
        (NEW, replace(NOW, by_name=replace(STACK, status="REVIEW_IN_PROGRESS"))),
        (replace(NEW, change_set=None, outlined=True), replace(NOW, by_name=None, change_set="")),
        (PLANNED, asking(Password="x", VpcId="vpc-1", Later="known now")),
    ],
)
def test_what_has_not_changed_is_not_stale(planned: PhasePlan, now: Present) -> None:
    """A plan stays good while nothing moves; what nobody could know when it was made may be known now."""
    assert differences(planned, now) == []


@pytest.mark.parametrize(
    ("planned", "now", "words"),
    [
        (PLANNED, replace(NOW, by_name=None), "was deleted since"),
        (PLANNED, replace(NOW, by_name=replace(STACK, id=f"{ARN}2")), "made anew since"),
        (
            PLANNED,
            replace(NOW, by_name=replace(STACK, changed=CHANGED.replace(hour=13))),
            "was updated since, at 2026-11-23T13:00:00",
        ),
        (NEW, NOW, "has been created since"),
        (PLANNED, replace(NOW, request=replace(REQUEST, template="{ }")), "template is another one"),
        (PLANNED, asking(Password="x", VpcId="vpc-2"), "VpcId was vpc-1 and is vpc-2"),
        (PLANNED, asking(Password="y", VpcId="vpc-1"), "Password is another one (a secret)"),
        (PLANNED, asking(Password="x"), "VpcId has no value any more"),
        (PLANNED, asking(Password="x", VpcId="vpc-1", Other="1"), "Other is new"),
        (PLANNED, replace(NOW, change_set=""), "it was deleted, or carried out"),
        (replace(PLANNED, change_set=None), replace(NOW, change_set=""), "was not kept"),
        (PLANNED, replace(NOW, change_set="OBSOLETE"), "AWS calls it OBSOLETE"),
    ],
)
def test_what_has_changed_is_named(planned: PhasePlan, now: Present, words: str) -> None:
    """Each difference is one line that says what it is, and no more lines than differences."""
    (reason,) = differences(planned, now)
    assert words in reason
    assert "x" not in reason.split() and "y" not in reason.split()


def test_a_long_value_is_cut() -> None:
    """A key set of thousands of characters stays one line."""
    (reason,) = differences(PLANNED, asking(Password="x", VpcId="v" * 4000))
    assert len(reason) < 120


def test_an_outline_allows_what_it_says() -> None:
    """The same resources; those that hang on a condition may be missing, and nothing may come."""
    added = tuple(Change("add", name, "T") for name in ("A", "B"))
    outlined = replace(PLANNED, action="create", changes=added, change_set=None)
    template = {"Resources": {"A": {}, "B": {"Condition": "Wanted"}}}
    named = tuple(replace(change, physical_id="a name") for change in added)
    assert unlike_outline(outlined, replace(PLANNED, changes=named), template) == []
    assert unlike_outline(outlined, replace(PLANNED, changes=added[:1]), template) == []
    (missing,) = unlike_outline(outlined, replace(PLANNED, changes=added[1:]), template)
    assert missing == "add A (T) is in the plan, and not in what AWS would do"
    more = (*added, Change("remove", "C", "T"))
    assert unlike_outline(outlined, replace(PLANNED, changes=more), template) == [
        "remove C (T) is not in the plan"
    ]


PLAN = Plan("dev", "ap-northeast-1", "123456789012", "", "2026-11-23T12:00:00+00:00", (), (PLANNED,))


def test_a_file_holds_the_plan(tmp_path: Path) -> None:
    """What is written is read back; nobody else can read it, and an older one is replaced whole."""
    file = tmp_path / "計画.json"
    saved.write(PLAN, file)
    assert saved.read(file) == PLAN
    assert file.stat().st_mode & 0o077 == 0
    saved.write(replace(PLAN, made="later"), file)
    assert saved.read(file).made == "later"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "cannot be read"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "cannot be read"),
     (b"x" * 17_000_000, "too large"), (b"[1]", "not a plan")],
)  # fmt: skip
def test_what_is_no_plan_is_one_error(tmp_path: Path, content: bytes | None, word: str) -> None:
    """Nothing there, nothing in it, something else: the file is named, and what makes a plan."""
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DeployError) as caught:
        saved.read(file)
    assert caught.value.where == str(file)
    assert word in caught.value.what and "zedi plan ENV --save FILE" in caught.value.fix


def test_a_folder_is_no_plan(tmp_path: Path) -> None:
    """A folder is neither read nor written to."""
    with pytest.raises(DeployError, match="cannot be read"):
        saved.read(tmp_path)
    with pytest.raises(DeployError, match="is a folder"):
        saved.refuse_unwritable(tmp_path)
    with pytest.raises(DeployError, match="nothing can be written"):
        saved.refuse_unwritable(tmp_path / "nowhere" / "plan.json")
    with pytest.raises(DeployError, match="cannot be written"):
        saved.write(PLAN, tmp_path / "nowhere" / "plan.json")
