"""The phases as a whole: parameters close, text is deterministic and small, names go both ways."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from troposphere import Template

from zedi import phases, settings
from zedi.phases import monitoring

Templates = Mapping[str, dict[str, Any]]
Synthesize = Callable[[str], Templates]

ENVIRONMENTS = Path(__file__).parents[2] / "environments"
ALL = ("dev", "lean", "staging", "prod", "local")


def test_order() -> None:
    """Every phase stands behind those that it needs."""
    seen: set[str] = set()
    for phase in phases.PHASES:
        assert set(phase.after) <= seen, phase.name
        seen.add(phase.name)
    assert [phase.name for phase in phases.PHASES] == [
        "networking",
        "security",
        "database",
        "cache",
        "realtime",
        "cdn",
        "monitoring",
    ]
    assert [phase.name for phase in phases.PHASES if not phase.after] == ["networking", "security"]


@pytest.mark.parametrize("environment", ALL)
def test_parameters_close(templates: Synthesize, environment: str) -> None:
    """Each parameter is an output of a phase that must come before, or a fact; and each is used."""
    before: dict[str, set[str]] = {}
    asked: set[str] = set()
    for phase in phases.PHASES:
        template = templates(environment)[phase.name]
        available = set().union(*(before[name] for name in phase.after))
        parameters = set(template.get("Parameters", {}))
        asked |= parameters
        assert parameters <= available | set(phases.FACTS), phase.name
        text = json.dumps([template["Resources"], template.get("Conditions", {}), template["Outputs"]])
        unused = {name for name in parameters if f'"{name}"' not in text and f"${{{name}}}" not in text}
        assert not unused, phase.name
        before[phase.name] = available | set(template["Outputs"])
    known_here = {"FrontendUrl"} if environment == "local" else set()
    assert set(phases.FACTS) - asked == known_here


@pytest.mark.parametrize("environment", ALL)
def test_no_output_has_two_phases(templates: Synthesize, environment: str) -> None:
    """An output's name alone says which one is meant."""
    names = [name for template in templates(environment).values() for name in template["Outputs"]]
    assert len(names) == len(set(names))


def test_text_is_deterministic() -> None:
    """Other processes, with other hashes, write the same bytes."""
    program = (
        "import sys; from pathlib import Path; from zedi import phases, settings;"
        "s = settings.load('prod', Path(sys.argv[1]));"
        "sys.stdout.buffer.write('\\n'.join(phases.render(p.build(s)) for p in phases.PHASES).encode())"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program, str(ENVIRONMENTS)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert "確認コード" in texts.pop().decode()


@pytest.mark.parametrize("environment", ALL)
def test_size(environment: str) -> None:
    """Every template has room to grow under what CloudFormation takes inline."""
    chosen = settings.load(environment, ENVIRONMENTS)
    for phase in phases.PHASES:
        text = phases.render(phase.build(chosen))
        assert len(text.encode()) < 0.6 * phases.MAX_TEMPLATE_BYTES, phase.name
        assert "\n" not in text


def test_too_large() -> None:
    """A template that CloudFormation would not take inline is refused with its size."""
    template = Template(Description="zedi-dev: large")
    template.set_metadata({"filling": "あ" * (phases.MAX_TEMPLATE_BYTES // 3)})
    with pytest.raises(phases.TemplateTooLargeError, match="zedi-dev: large: has 51"):
        phases.render(template)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("AuroraClusterEndpoint", "aurora_cluster_endpoint"),
        ("DbCredentialsSecretArn", "db_credentials_secret_arn"),
        ("VpcId", "vpc_id"),
        ("CloudfrontDistributionId", "cloudfront_distribution_id"),
        ("CognitoHostedUiUrl", "cognito_hosted_ui_url"),
    ],
)
def test_names(name: str, shown: str) -> None:
    """Templates say PascalCase where people say snake_case."""
    assert phases.output_name(name) == shown
    assert phases.template_name(shown) == name


@given(st.lists(st.from_regex(r"[a-z][a-z0-9]*", fullmatch=True), min_size=1))
def test_names_go_both_ways(words: list[str]) -> None:
    """Any snake_case name is found again."""
    name = "_".join(words)
    assert phases.output_name(phases.template_name(name)) == name


def test_outputs_go_both_ways(templates: Synthesize) -> None:
    """Every output's name is found again."""
    for template in templates("dev").values():
        for name in template["Outputs"]:
            assert phases.template_name(phases.output_name(name)) == name


def test_stack_name() -> None:
    """A stack is named after its environment and phase."""
    chosen = settings.load("dev", ENVIRONMENTS)
    assert phases.stack_name(chosen, "networking") == "zedi-dev-networking"


def test_import_is_cheap() -> None:
    """Who only wants to know the phases does not wait for troposphere."""
    program = "import sys, zedi.phases; sys.exit('troposphere' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# What AWS would refuse is preflight's to tell, so templates must come out of settings that mean something.
@pytest.mark.parametrize(
    "toml",
    [
        "[database]\nmin_acu = 0.0\nmax_acu = 300.0",
        "[database]\nmin_acu = 0.3\nmax_acu = 0.4\nperformance_insights_days = 8",
        "[database]\nperformance_insights_days = 0\ninstances = 16",
        "[cache]\nlog_retention_days = 8\nnodes = 6\nengine_version = '9.9'",
        "[realtime]\nlog_retention_days = 0\ncpu = 300\nmemory = 1\nstop_timeout_seconds = 999",
        "[networking]\nvpc_cidr = '255.255.255.0/28'\navailability_zones = ['ap-northeast-1a']",
        "[networking]\navailability_zones = ['a', 'b', 'c', 'd', 'e', 'f']",
        "[cdn]\ndomain_name = 'notes.example.com'",
        "[security]\nmfa = 'OFF'",
    ],
)
def test_odd_settings_make_templates(templates_of: Synthesize, toml: str) -> None:
    """Building judges nothing."""
    assert len(templates_of(toml)) == len(phases.PHASES)


@pytest.mark.parametrize(
    ("toml", "scaling"),
    [
        ("min_acu = 0", {"MinCapacity": 0.0, "MaxCapacity": 4.0, "SecondsUntilAutoPause": 300}),
        (
            "min_acu = 0\nauto_pause_seconds = 900",
            {"MinCapacity": 0.0, "MaxCapacity": 4.0, "SecondsUntilAutoPause": 900},
        ),
        ("min_acu = 0.5\nauto_pause_seconds = 900", {"MinCapacity": 0.5, "MaxCapacity": 4.0}),
    ],
)
def test_aurora_can_pause(templates_of: Synthesize, toml: str, scaling: dict[str, Any]) -> None:
    """A minimum of 0 ACU reaches the template, past troposphere's check; only then is there a pause."""
    cluster = templates_of(f"[database]\n{toml}")["database"]["Resources"]["Cluster"]
    assert cluster["Properties"]["ServerlessV2ScalingConfiguration"] == scaling


@pytest.mark.parametrize(
    ("engine", "version", "family"),
    [
        ("redis", "7.1", "redis7"),
        ("redis", "6.2", "redis6.x"),
        ("redis", "5.0", "redis5.0"),
        ("valkey", "7.2", "valkey7"),
        ("valkey", "8.1", "valkey8"),
    ],
)
def test_cache_engines(templates_of: Synthesize, engine: str, version: str, family: str) -> None:
    """Engine and version name the family of the parameters."""
    toml = f"[cache]\nengine = '{engine}'\nengine_version = '{version}'"
    resources = templates_of(toml)["cache"]["Resources"]
    group = resources["ReplicationGroup"]["Properties"]
    assert (group["Engine"], group["EngineVersion"]) == (engine, version)
    assert resources["Parameters"]["Properties"]["CacheParameterGroupFamily"] == family


def test_logs_are_kept_for_ever_at_zero(templates_of: Synthesize) -> None:
    """0 days of retention is no retention policy."""
    template = templates_of("[realtime]\nlog_retention_days = 0")["realtime"]
    assert "RetentionInDays" not in template["Resources"]["ServiceLog"]["Properties"]


@pytest.mark.parametrize(
    ("minimum", "maximum", "connections"),
    [
        (1.0, 1.0, 189),
        (1.0, 4.0, 823),
        (1.0, 8.0, 1669),
        (1.0, 16.0, 3360),
        (1.0, 32.0, 5000),
        (0.5, 16.0, 2000),
        (0.0, 4.0, 823),
    ],
)
def test_max_connections(minimum: float, maximum: float, connections: int) -> None:
    """Aurora's documented numbers."""
    assert monitoring.max_connections(minimum, maximum) == connections
