"""Expected times: the longest chain inside a phase and over all, held against all chains there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zedi.deploy.plan import Change, Replacement
from zedi.deploy.timing import (
    CREATE_OTHERS,
    CREATE_SECONDS,
    UPDATE_OTHERS,
    about,
    critical_path,
    expected,
)
from zedi.phases import PHASES
from zedi.settings import Settings

CLUSTER, INSTANCE = "AWS::RDS::DBCluster", "AWS::RDS::DBInstance"


def template(**resources: Any) -> dict[str, Any]:
    return {"Resources": resources}


def add(name: str, kind: str) -> Change:
    return Change("add", name, kind)


@pytest.mark.parametrize(
    "link",
    [
        {"Properties": {"A": [{"Ref": "C"}]}},
        {"Properties": {"A": {"Fn::GetAtt": ["C", "Arn"]}}},
        {"Properties": {"A": {"Fn::GetAtt": "C.Arn"}}},
        {"Properties": {"A": {"Fn::Sub": "x-${C}-${AWS::Region}"}}},
        {"Properties": {"A": {"Fn::Sub": ["${C.Arn}-${b}", {"b": 1}]}}},
        {"Properties": {"A": {"Fn::If": ["Cond", {"Ref": "C"}, "x"]}}},
        {"DependsOn": "C"},
        {"DependsOn": ["X", "C"]},
    ],
)
def test_a_reference_makes_a_chain(link: dict[str, Any]) -> None:
    """What refers to another waits for it, by whatever words; what does not is made beside it."""
    body = template(C={}, I=link, Alone={})
    changes = [add("C", CLUSTER), add("I", INSTANCE), add("Alone", "AWS::IAM::Role")]
    assert expected(changes, body) == CREATE_SECONDS[CLUSTER] + CREATE_SECONDS[INSTANCE]
    assert expected(changes, template(C={}, I={}, Alone={})) == CREATE_SECONDS[INSTANCE]


@pytest.mark.parametrize(
    ("action", "replacement", "seconds"),
    [
        ("add", "never", CREATE_OTHERS),
        ("modify", "always", CREATE_OTHERS),
        ("modify", "conditional", UPDATE_OTHERS),
        ("modify", "never", UPDATE_OTHERS),
        ("remove", "never", 0.0),
    ],
)
def test_only_what_changes_takes_time(action: Any, replacement: Replacement, seconds: float) -> None:
    """A replacement is made anew, a change is quicker, a removal is not waited for."""
    body = template(A={}, B={"DependsOn": "A"})
    assert expected([Change(action, "B", "T", replacement=replacement)], body) == seconds


def test_what_stays_still_orders() -> None:
    """Two that are made wait for each other through one that stays as it is."""
    body = template(A={}, B={"DependsOn": "A"}, C={"DependsOn": "B"})
    assert expected([add("A", "T"), add("C", "T")], body) == 2 * CREATE_OTHERS


def test_nothing_and_a_circle_end() -> None:
    """An empty template takes no time, and a circle, which AWS refuses, does not hang us."""
    assert expected([], template()) == 0
    body = template(A={"DependsOn": "B"}, B={"DependsOn": "A"})
    assert expected([add("A", "T"), add("B", "T")], body) <= 2 * CREATE_OTHERS


def test_a_chain_is_no_sum() -> None:
    """Every phase as it is takes less than all of its resources one after the other, and more than none."""
    for phase in PHASES:
        body = phase.build(Settings(name="dev")).to_dict()
        changes = [add(name, each["Type"]) for name, each in body["Resources"].items()]
        one_by_one = sum(CREATE_SECONDS.get(change.type, CREATE_OTHERS) for change in changes)
        assert 0 < expected(changes, body) < one_by_one


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, tuple[str, ...]], dict[str, float]]:
    """What waits for what, without a circle, and the seconds of some of them."""
    names = [f"p{number}" for number in range(draw(st.integers(0, 6)))]
    after = {
        name: tuple(earlier for earlier in names[:index] if draw(st.booleans()))
        for index, name in enumerate(names)
    }
    left = [name for name in names if draw(st.booleans())]
    return after, {name: float(draw(st.integers(0, 9))) for name in left}


def chains(after: Mapping[str, tuple[str, ...]], names: set[str]) -> Iterator[tuple[str, ...]]:
    """Every chain of `names` there is."""

    def ending(name: str) -> Iterator[tuple[str, ...]]:
        yield (name,)
        for earlier in after[name]:
            if earlier in names:
                yield from ((*chain, name) for chain in ending(earlier))

    for name in names:
        yield from ending(name)


@given(graphs())
def test_the_critical_path_is_the_longest_of_all(
    graph: tuple[dict[str, tuple[str, ...]], dict[str, float]],
) -> None:
    """No chain of what is left takes longer, and the one that is named takes just as long."""
    after, seconds = graph
    total, path = critical_path(after, seconds)
    every = list(chains(after, set(seconds)))
    assert total == max((sum(seconds[name] for name in chain) for chain in every), default=0.0)
    assert path in [*every, ()] and sum(seconds[name] for name in path) == total
    assert bool(path) == bool(seconds)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "less than a minute"), (44, "less than a minute"), (50, "about 1 min"), (1510, "about 25 min")],
)
def test_an_estimate_is_no_more_exact_than_it_is(seconds: float, words: str) -> None:
    """Minutes, and nothing finer."""
    assert about(seconds) == words
