"""The form that Prefect's pages make of a flow's parameters: every field with words, every wrong value refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.live import gate, watch
from flows.prepare import precompile, sync_weights
from flows.redeploy import redeploy
from flows.upkeep import keep_warm, prune, rollback, teardown
from slipway.profile import profile_names

FLOWS: list[Flow[..., Any]] = [
    redeploy,
    gate,
    watch,
    sync_weights,
    precompile,
    rollback,
    prune,
    teardown,
    keep_warm,
]


def schema(flow: Flow[..., Any]) -> dict[str, Any]:
    return flow.parameters.model_dump_for_openapi()


def fields(flow: Flow[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of the form, those of inner boxes too."""
    document = schema(flow)
    yield from document["properties"].items()
    for name, model in document.get("definitions", {}).items():
        for field, shape in model.get("properties", {}).items():
            yield f"{name}.{field}", shape


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_field_has_words(flow: Flow[..., Any]) -> None:
    for name, field in fields(flow):
        assert field.get("title"), name
        assert len(field.get("description", "")) > 15, name


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_box_with_a_key_that_it_does_not_know_is_refused(flow: Flow[..., Any]) -> None:
    for name, model in schema(flow).get("definitions", {}).items():
        if model.get("type") == "object":
            assert model["additionalProperties"] is False, name


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_profiles_are_a_choice(flow: Flow[..., Any]) -> None:
    assert schema(flow)["properties"]["profile"]["enum"] == profile_names()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"profile": "minature"}, "is not one of"),
        ({"profile_file": "profile.txt"}, "does not match"),
        ({"overrides": {"revision": "main"}}, r"overrides\.revision.* does not match"),
        ({"overrides": {"revison": "a" * 40}}, "'revison' was unexpected"),
        ({"overrides": {"max_run_s": 0}}, "less than or equal to the minimum of 0"),
        ({"overrides": {"strategy": "beside"}}, "is not one of"),
        ({"overrides": {"limits": [{"at_most": 1}]}}, "'gate' is a required property"),
        ({"dry_run": "yes"}, "is not of type 'boolean'"),
    ],
)
def test_the_server_refuses_wrong_values(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        validate(given, schema(redeploy), raise_on_error=True)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_parameters_can_be_checked_when_the_flow_runs(flow: Flow[..., Any]) -> None:
    asked = {"version": 3, "confirm": "app"}
    given = {name: value for name, value in asked.items() if name in flow.parameters.required}
    assert flow.validate_parameters(given)["profile"] == "miniature"


def test_what_the_form_offers_is_accepted() -> None:
    given = {
        "profile": "miniature",
        "overrides": {"revision": "a" * 40, "limits": [{"gate": "ttft_s.p50@chat", "at_most": 0.3}]},
        "dry_run": True,
    }
    validate(given, schema(redeploy), raise_on_error=True)
    assert redeploy.validate_parameters(given)["overrides"].revision == "a" * 40
