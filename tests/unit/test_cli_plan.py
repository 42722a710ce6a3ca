"""`slipway plan` and `slipway explain`: what is printed, how they end, and what they do without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest
from typer.testing import CliRunner, Result

from slipway.cli.explain import FAULTS
from slipway.cli.main import app
from slipway.preflight.plan import Plan
from slipway.preflight.rules import RULES

GUIDE = str(Path(__file__).parents[1] / "fixtures" / "profiles" / "guide.yaml")
HEAVY = ("numpy", "scipy", "pandas", "pyarrow", "huggingface_hub", "matplotlib", "uvicorn", "prefect", "modal", "httpx")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_plan_of_the_big_model_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys; from slipway.cli.main import app\n"
        "try: app(['plan', 'glm51', '--offline'])\n"
        "except SystemExit: pass\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "loaded: []", done.stdout + done.stderr


def test_plan_offline_names_no_platform_and_says_all_it_reckons() -> None:
    result = run("plan", "glm51", "--offline", "--json")
    plan = Plan.model_validate(orjson.loads(result.stdout))
    assert "unseen" not in {finding.rule for finding in plan.findings}
    assert plan.capacity is not None
    assert plan.capacity.pool_tokens == pytest.approx(700_000, rel=0.03)
    assert 0 < plan.cost_least_usd < plan.cost_usd
    assert all(step.runs for step in plan.steps)


def test_plan_shows_cost_capacity_limits_and_findings() -> None:
    result = run("plan", GUIDE, "--offline")
    assert result.exit_code == 2
    for part in ("KV pool", "forbidden to the pool", "physics allows", "error context-beyond-pool:", "on GPUs"):
        assert part in result.stdout


def test_picture_is_drawn(tmp_path: Path) -> None:
    target = tmp_path / "memory.svg"
    run("plan", "glm51", "--offline", "--picture", str(target))
    words = " ".join("".join(node.itertext()) for node in ET.fromstring(target.read_bytes()).iter())
    assert "KV pool: 66.6 GiB" in words
    assert "requests at once" in words


@pytest.mark.parametrize(("profile", "place"), [("miniature", "memory.svg"), ("glm51", "nowhere/memory.svg")])
def test_picture_that_cannot_be_drawn(tmp_path: Path, profile: str, place: str) -> None:
    result = run("plan", profile, "--offline", "--picture", str(tmp_path / place))
    assert result.exit_code == 2
    assert "What to do:" in result.stderr


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_explained(rule: str) -> None:
    result = run("explain", rule)
    assert result.exit_code == 0
    for part in (rule, "Applies when:", "What happens:", "What to do:", "Known from:", "waivers:"):
        assert part in result.stdout


def test_every_fault_of_a_running_engine_is_explained() -> None:
    assert {"hang", "rank-lost", "disk-full"} <= FAULTS.keys()
    for fault in FAULTS.values():
        result = run("explain", fault.rule)
        assert result.exit_code == 0
        for part in (fault.rule, "What happens:", fault.means, fault.remedy, "Known by:", fault.pattern.pattern):
            assert part in result.stdout
        assert orjson.loads(run("explain", fault.rule, "--json").stdout)["happens"] == fault.means


def test_all_rules_are_listed() -> None:
    assert "rank-lost" in run("explain").stdout
    assert [each["rule"] for each in orjson.loads(run("explain", "--json").stdout)] == list(RULES)
    assert "kv-type-guessed" in run("explain").stdout


def test_rule_that_is_not_there_names_the_nearest() -> None:
    result = run("explain", "kv-typ-guessed")
    assert result.exit_code == 2
    assert "kv-type-guessed" in result.stderr
