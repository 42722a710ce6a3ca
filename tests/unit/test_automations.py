"""Automations that come along: Prefect takes them, and they listen to events that are emitted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import jinja2
import pytest
from prefect.events.schemas.automations import AutomationCore

from flows import events
from scripts.automations import DIRECTORY, automations
from slipway.profile import load_profile, profile_names
from slipway.records.check import CheckRecord, Condition
from slipway.records.events import StageEvent
from slipway.records.record import Outcome, ReleaseRecord
from slipway.units import utc_now

FOUND_BY_GATES = (Condition.HEALTHY, Condition.UNDECIDED, Condition.UNHEALTHY)
DOCUMENTS = {document["name"]: document for document in automations(uuid4())}


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every event that can be emitted about a release or a check, once."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(events, "emit_event", lambda **event: seen.append(event))
    profile = load_profile("miniature").model_dump(mode="json")
    for outcome in Outcome:
        record = ReleaseRecord(
            release_id="app.1", app="app", started_at=utc_now(), profile=profile, outcome=outcome, reason="so it went"
        )
        ended = None if outcome is Outcome.RUNNING else utc_now()
        events.of_release(record.model_copy(update={"ended_at": ended}))
    kinds: tuple[Literal["gate"], Literal["watch"]] = ("gate", "watch")
    for kind in kinds:
        for condition in Condition if kind == "watch" else FOUND_BY_GATES:
            check = CheckRecord(
                check_id="app.2",
                kind=kind,
                app="app",
                release_id="app.1",
                version=3,
                started_at=utc_now(),
                condition=condition,
                reason="so it is",
            )
            events.of_check(check)
    events.of_stage(StageEvent("app.1", "gates", "failed", "too slow", 1.0))
    events.tell("approval.requested", app="app", release_id="app.1", reason="undecided", flow_run_id="f-1")
    return seen


@pytest.mark.parametrize("name", DOCUMENTS)
def test_prefect_takes_it_as_it_is_written(name: str) -> None:
    made = AutomationCore.model_validate(DOCUMENTS[name])
    assert made.description
    assert re.fullmatch(r"slipway - [a-z ]+", made.name)


def test_each_turn_that_people_want_to_know_of_has_one() -> None:
    names = {name.removeprefix("slipway - ") for name in DOCUMENTS}
    assert names == {"promoted", "rejected", "rolled back", "needs approval", "watch failed", "run stuck"}
    assert all("block_document_id: BLOCK\n" in path.read_text() for path in DIRECTORY.glob("*.yaml"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_it_listens_to_events_that_are_emitted_and_its_words_can_be_filled_in(
    name: str, emitted: list[dict[str, Any]]
) -> None:
    by_name = {event["event"]: event for event in emitted}
    trigger, action = DOCUMENTS[name]["trigger"], DOCUMENTS[name]["actions"][0]
    heard = [*trigger["expect"], *trigger.get("after", ())]
    assert set(heard) <= set(by_name)
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined)
    for event in heard:
        assert by_name[event]["resource"]["prefect.resource.id"].startswith("slipway.release.")
        for text in (action["subject"], action["body"]):
            assert strict.from_string(text).render(event=by_name[event]).strip()


def test_a_stuck_run_is_one_that_no_profile_allows() -> None:
    within_s = DOCUMENTS["slipway - run stuck"]["trigger"]["within"]
    assert within_s > max(load_profile(name).budget.max_run_s for name in profile_names())
    ends = {f"slipway.release.{outcome.value.replace('_', '-')}" for outcome in Outcome} - {"slipway.release.running"}
    assert set(DOCUMENTS["slipway - run stuck"]["trigger"]["expect"]) == ends


def test_the_page_names_every_event(emitted: list[dict[str, Any]]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "prefect.md").read_text()
    for event in emitted:
        family, _, turn = event["event"].rpartition(".")
        row = next((line for line in page.splitlines() if line.startswith(f"| `{family}.")), "")
        assert turn == "running" or f".{turn}`" in row, event["event"]
