"""Mistakes that Prefect passes over without a word: in prefect.yaml, in its settings, in what is installed.

An unknown key or parameter is dropped, a bad value in a schedule fails at night, and versions of fastapi and
SQLAlchemy that Prefect's own metadata allows break its server.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from packaging.requirements import Requirement
from prefect import Flow
from prefect.cli.deploy._models import (  # no public name; Prefect validates the file with these
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.exceptions import ParameterTypeError
from prefect.settings import Settings
from prefect.utilities.importtools import from_qualified_name
from pydantic import BaseModel

from slipway.profile import load_profile
from tests.unit.test_flows_form import FLOWS

ROOT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "prefect.yaml").read_text())
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHELL_VARIABLES = {"PWD"}
"""What templates may use: a variable that is not set is no error to Prefect, only a warning."""


FILLED_IN = {"version": 1, "confirm": "app"}
"""Parameters without a default, which a person gives in the form."""


def problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Everything in a prefect.yaml that Prefect would drop or stumble over later."""
    yield from _unknown("", document, PrefectYamlModel, {"definitions", "prefect-version"})
    for deployment in document["deployments"]:
        name = deployment["name"]
        yield from _unknown(name, deployment, DeploymentConfig)
        yield from _unknown(f"{name}.work_pool", deployment["work_pool"], WorkPoolConfig)
        if isinstance(limit := deployment.get("concurrency_limit"), dict):
            yield from _unknown(f"{name}.concurrency_limit", limit, ConcurrencyLimitSpec)
        flow = flow_at(deployment["entrypoint"])
        schedules = [deployment.get("schedule") or {}, *deployment.get("schedules", ())]
        for schedule in schedules:
            yield from _unknown(f"{name}.schedule", schedule, RawScheduleConfig)
            parameters = {**deployment.get("parameters", {}), **schedule.get("parameters", {})}
            yield from _wrong_parameters(name, flow, parameters, by_itself=bool(schedule))


def flow_at(entrypoint: str) -> Flow[..., Any]:
    file, _, name = entrypoint.partition(":")
    assert (ROOT / file).is_file(), entrypoint
    flow = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(flow, Flow)
    return flow


def _unknown(where: str, given: Mapping[str, Any], model: type[BaseModel], more: set[str] | None = None) -> list[str]:
    return [f"{where}: unknown key {key}" for key in sorted(given.keys() - model.model_fields.keys() - (more or set()))]


def _wrong_parameters(
    where: str, flow: Flow[..., Any], parameters: dict[str, Any], *, by_itself: bool
) -> Iterator[str]:
    """What is wrong with parameters; one that a person must fill in may be missing where no schedule starts the run."""
    if strangers := sorted(parameters.keys() - flow.parameters.properties.keys()):
        yield f"{where}: unknown parameter {strangers[0]}"
        return
    asked = {} if by_itself else {name: FILLED_IN[name] for name in flow.parameters.required if name in FILLED_IN}
    try:
        flow.validate_parameters({**asked, **parameters})
    except ParameterTypeError as error:
        yield f"{where}: {error}"


def test_prefect_yaml_has_no_silent_mistakes() -> None:
    assert list(problems(DOCUMENT)) == []


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        ("concurency_limit", 1, "unknown key concurency_limit"),
        ("concurrency_limit", {"limit": 1, "strategy": "ENQUEUE"}, "unknown key strategy"),
        ("work_pool", {"name": "slipway", "queue": "x"}, "unknown key queue"),
        ("parameters", {"profil": "miniature"}, "unknown parameter profil"),
        ("parameters", {"overrides": {"revison": "0" * 40}}, "revison"),
        ("parameters", {"overrides": {"revision": "main"}}, "revision"),
        ("schedules", [{"cron": "0 3 * * *", "tz": "UTC"}], "unknown key tz"),
        ("schedules", [{"cron": "0 3 * * *", "parameters": {"overrides": {"revision": "main"}}}], "revision"),
    ],
)
def test_each_silent_mistake_is_found(place: str, value: object, complaint: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["deployments"][0][place] = value
    found = list(dict.fromkeys(problems(document)))
    assert len(found) == 1
    assert complaint in found[0]


def test_profiles_of_deployments_exist() -> None:
    for deployment in DOCUMENT["deployments"]:
        assert load_profile(deployment["parameters"]["profile"]).app


def test_every_flow_has_a_deployment_that_says_what_it_does() -> None:
    found = {flow_at(deployment["entrypoint"]).name for deployment in DOCUMENT["deployments"]}
    assert found == {flow.name for flow in FLOWS}
    for deployment in DOCUMENT["deployments"]:
        assert len(deployment["description"]) > 40
        assert "slipway" in deployment["tags"]
        pauses = deployment["entrypoint"] == "flows/redeploy.py:redeploy"  # docs/decisions/0018
        assert deployment.get("concurrency_limit", {}).get("limit") == (None if pauses else 1)
        for schedule in deployment.get("schedules", ()):
            assert (schedule["slug"], schedule["timezone"], schedule["active"]) == (
                schedule["slug"],
                "Europe/Berlin",
                False,
            )


def test_keeping_warm_says_what_it_costs_and_asks_in_time() -> None:
    """The sentence in its description, from the profile's price and the schedule's hours."""
    deployment = next(d for d in DOCUMENT["deployments"] if d["entrypoint"].endswith(":keep_warm"))
    profile, schedule = load_profile(deployment["parameters"]["profile"]), deployment["schedules"][0]
    minutes, hours, *_, days = schedule["cron"].split()
    (begin, end), (first, last) = (map(int, part.split("-")) for part in (hours, days))
    week_usd = (end - begin + 1) * (last - first + 1) * profile.hardware.cost_per_hour_usd
    assert f"${week_usd:,.0f} a week" in deployment["description"]
    assert int(minutes.removeprefix("*/")) * 60 < profile.scaling.scaledown_window_s


def test_the_watch_starts_after_a_promotion_of_its_app() -> None:
    deployment = next(d for d in DOCUMENT["deployments"] if d["entrypoint"].endswith(":watch"))
    trigger = deployment["triggers"][0]
    assert trigger["match"] == {"slipway.app": load_profile(deployment["parameters"]["profile"]).app}
    assert trigger["expect"] == ["slipway.release.promoted"]


def test_pull_steps_and_templates_can_be_resolved() -> None:
    for step in DOCUMENT["pull"]:
        for function in step:
            assert callable(from_qualified_name(function))
    assert set(re.findall(r"\{\{ *\$(\w+) *\}\}", yaml.safe_dump(DOCUMENT))) <= SHELL_VARIABLES


def test_the_version_in_prefect_yaml_is_the_one_installed() -> None:
    assert DOCUMENT["prefect-version"] == prefect.__version__


def test_settings_in_pyproject_are_known_to_prefect() -> None:
    assert list(_unknown_settings("tool.prefect", PYPROJECT["tool"]["prefect"], Settings)) == []
    assert list(_unknown_settings("p", {"server": {"analytics": False}}, Settings)) == ["p.server.analytics"]


def _unknown_settings(where: str, given: Mapping[str, Any], model: type[BaseModel]) -> Iterator[str]:
    for key, value in given.items():
        field = model.model_fields.get(key)
        if field is None:
            yield f"{where}.{key}"
        elif isinstance(value, dict):
            assert isinstance(field.annotation, type)
            yield from _unknown_settings(f"{where}.{key}", value, field.annotation)


@pytest.mark.parametrize("requirement", PYPROJECT["project"]["dependencies"])
def test_what_is_installed_keeps_the_bounds(requirement: str) -> None:
    asked = Requirement(requirement)
    assert version(asked.name) in asked.specifier


@pytest.mark.parametrize(("name", "broken"), [("fastapi", "0.151.0"), ("sqlalchemy", "2.1.0"), ("prefect", "3.9.0")])
def test_versions_that_break_prefects_server_are_kept_out(name: str, broken: str) -> None:
    asked = {r.name: r for r in map(Requirement, PYPROJECT["project"]["dependencies"])}
    assert broken not in asked[name].specifier
