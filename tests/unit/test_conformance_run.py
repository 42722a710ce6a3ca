"""Conformance checks against servers that are healthy, faulty, silent, dying and gone."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path

import httpx
import pytest

from slipway.endpoint import Endpoint
from slipway.measure.conformance import CHECKS, Expectations, run_probes
from slipway.measure.conformance.probe import Broken, Ended
from slipway.measure.conformance.run import MOST_SILENT
from slipway.measure.conformance.session import Session
from tests.support import measure_server
from tests.support.knob_server import serving
from tests.support.knobs import Knobs

pytestmark = pytest.mark.slow

KEY = "sk-conformance-1234"
BY_ID = {check.check_id: check for check in CHECKS}
ALL_KINDS = ("ok", "broken", "not-offered", "unanswered")


def expectations(knobs: Knobs, **changes: object) -> Expectations:
    expected = Expectations(
        model=knobs.model,
        context_length=knobs.context_length,
        reasoning=True,
        tools=True,
        requires_key=knobs.api_key is not None,
        release_id=knobs.release_id,
    )
    return dataclasses.replace(expected, **changes)


def session(url: str, knobs: Knobs, client: httpx.Client, deadline_s: float = 30.0) -> Session:
    endpoint = Endpoint(url, knobs.model, knobs.api_key)
    return Session(endpoint, expectations(knobs), client, time.monotonic() + deadline_s)


def outcome(knobs: Knobs, *check_ids: str) -> tuple[str, str]:
    """What the last of some checks, run in order, comes to."""
    with serving(knobs) as url, httpx.Client(trust_env=False) as client:
        asker = session(url, knobs, client)
        kind, detail = "", ""
        for check_id in check_ids:
            try:
                kind, detail = "ok", BY_ID[check_id].function(asker)
            except Ended as ended:
                kind, detail = ended.outcome, ended.detail
    return kind, detail


def test_a_healthy_server_keeps_every_promise():
    knobs = Knobs(api_key=KEY)
    done = []
    with serving(knobs) as url:
        endpoint = Endpoint(url, knobs.model, KEY)
        probes = run_probes(endpoint, expects=expectations(knobs), timeout_s=60, on_done=done.append)
    assert [probe for probe in probes if probe.outcome != "ok"] == []
    assert [probe.check for probe in probes] == list(BY_ID)
    assert sorted(probe.check for probe in done) == sorted(BY_ID)
    assert json.loads(json.dumps([dataclasses.asdict(probe) for probe in probes]))


FAULTS = {
    "another model": (Knobs(), ("models.listed",), {"model": "other"}, "lists glm-5.1-fp8, expected other"),
    "another release": (
        Knobs(),
        ("models.release",),
        {"release_id": "r2"},
        "weight_version is 'default', expected 'r2'",
    ),
}


@pytest.mark.parametrize(("knobs", "check_ids", "expected", "reason"), FAULTS.values(), ids=FAULTS)
def test_the_wrong_server_is_noticed(knobs, check_ids, expected, reason):
    with serving(knobs) as url, httpx.Client(trust_env=False) as client:
        asker = dataclasses.replace(session(url, knobs, client), expects=expectations(knobs, **expected))
        with pytest.raises(Broken, match=reason):
            BY_ID[check_ids[0]].function(asker)


@pytest.mark.parametrize(
    ("knobs", "check_ids", "reason"),
    [
        (Knobs(usage=False), ["usage.present"], "the whole answer carries no token counts"),
        (Knobs(usage_unasked=True), ["usage.only-when-asked"], "without include_usage carries token counts"),
        (Knobs(drop_share=1), ["stream.same-text"], "the stream dropped"),
        (Knobs(duplicate_share=1), ["stream.same-text"], "the stream doubled"),
        (Knobs(garble_share=0.5), ["stream.same-text"], "the stream says"),
        (Knobs(garble_share=0.5), ["stream.greedy-repeats"], "three greedy answers to one request differ"),
        (Knobs(no_finish_share=1), ["stream.same-finish-reason"], "of the whole answer: stop; of the stream: none"),
        (Knobs(leak_share=0.5), ["stream.same-reasoning"], "thoughts and content"),
        (Knobs(no_done_share=1), ["stream.same-usage", "stream.done"], "ended without [DONE]"),
        (Knobs(empty_share=1), ["finish.length"], "ended with stop, expected length"),
        (Knobs(no_finish_share=1), ["finish.length"], "streamed: max_tokens 3 ended with no reason"),
        (Knobs(drop_share=1), ["finish.stop-string"], "streamed: stop 'kefi' gives"),
        (Knobs(leak_share=1), ["reasoning.split"], "content holds </think>"),
        (Knobs(leak_share=1), ["reasoning.split-streamed"], "content holds </think>"),
        (Knobs(leak_share=0.5), ["tools.after-thoughts", "reasoning.no-markers"], "content holds </think>"),
        (Knobs(empty_share=1), ["reasoning.split"], "have no content"),
        (Knobs(empty_share=1), ["reasoning.off"], "content is empty"),
        (Knobs(no_finish_share=1), ["tools.auto"], "the finish reason is missing, expected tool_calls"),
        (Knobs(zero_arguments_lost=True), ["tools.zero-arguments"], "came whole, but not streamed"),
        (
            Knobs(mistyped_when_streaming=True),
            ["arguments.integer"],
            "streamed: set_timer: minutes is declared integer",
        ),
        (Knobs(mistyped_when_streaming=True), ["arguments.boolean"], "streamed: set_light: on is declared boolean"),
        (Knobs(mistyped_when_streaming=True), ["arguments.streamed-same"], 'streamed: set_timer({"minutes": "5"})'),
        (Knobs(mistyped_always=True), ["arguments.integer"], "whole: set_timer: minutes is declared integer"),
        (Knobs(internal_errors=True), ["refusals.bad-json"], "HTTP 500, expected 400"),
        (Knobs(internal_errors=True), ["refusals.no-messages"], "HTTP 500, expected 400"),
        (Knobs(internal_errors=True), ["refusals.wrong-types"], "HTTP 500, expected 400"),
        (Knobs(internal_errors=True), ["refusals.negative-max-tokens"], "HTTP 500, expected 400"),
        (Knobs(internal_errors=True), ["refusals.unknown-role"], "HTTP 500, expected 400"),
        (Knobs(error_share=1), ["models.unknown-name"], "HTTP 500, expected 404 or an answer"),
        (Knobs(error_share=1), ["models.unknown-name", "refusals.no-server-error"], "gave HTTP 500"),
        (Knobs(api_key=KEY, echo_key=True), ["keys.server-info"], "stands in GET /server_info, body"),
        (Knobs(api_key=KEY, key_in_errors=True), ["refusals.bad-json", "keys.no-answer"], "body (HTTP 400)"),
        (Knobs(keeps_left_streams=True, max_running_requests=8), ["limits.cancellation"], "is not answered within"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_each_fault_is_named_by_the_check_meant_for_it(knobs, check_ids, reason):
    kind, detail = outcome(knobs, *check_ids)
    assert (kind, reason in detail) == ("broken", True), detail
    assert KEY not in detail


def test_a_server_that_asks_for_no_key_is_broken_where_one_is_expected():
    knobs = Knobs(model="m")
    with serving(knobs) as url, httpx.Client(trust_env=False) as client:
        for check_id in ("keys.missing", "keys.wrong"):
            with pytest.raises(Broken, match="gives HTTP 200, expected 401 or 403"):
                BY_ID[check_id].function(session(url, knobs, client))


def test_what_is_not_expected_is_not_asked():
    knobs = Knobs(reasoning=False)
    with serving(knobs) as url:
        expects = expectations(knobs, reasoning=False, tools=False, context_length=None, release_id=None)
        probes = run_probes(Endpoint(url, knobs.model), expects=expects, timeout_s=30)
    outcomes = {probe.check: probe.outcome for probe in probes}
    assert {check for check, kind in outcomes.items() if kind == "broken"} == set()
    themes = (
        "tools.",
        "arguments.",
        "reasoning.",
        "keys.",
        "limits.context",
        "models.release",
        "stream.same-reasoning",
    )
    not_offered = {check for check, kind in outcomes.items() if kind == "not-offered"}
    assert not_offered == {check for check in BY_ID if check.startswith(themes)}


def test_a_model_that_never_calls_is_no_fault_of_the_server():
    kind, detail = outcome(Knobs(empty_share=1), "tools.auto")
    assert (kind, detail) == ("unanswered", "the model did not call in 3 tries")


def test_a_server_that_is_gone_gives_one_outcome():
    with measure_server.serving(lambda _: [measure_server.CUT]) as server:
        gone = server.url
    knobs = Knobs()
    probes = run_probes(Endpoint(gone, knobs.model), expects=expectations(knobs), timeout_s=30)
    assert [(probe.check, probe.outcome) for probe in probes] == [("server.answers", "broken")]
    assert "ConnectError" in probes[0].detail


def test_a_wrong_key_gives_one_outcome_that_does_not_tell_it():
    knobs = Knobs(api_key=KEY)
    with serving(knobs) as url:
        probes = run_probes(Endpoint(url, knobs.model, "sk-wrong-key"), expects=expectations(knobs), timeout_s=30)
    assert [(probe.check, probe.outcome) for probe in probes] == [("server.answers", "broken")]
    assert "HTTP 401" in probes[0].detail


def test_a_server_that_stops_answering_ends_the_run():
    """It answers once, and resets every connection from then on."""
    answers = iter([measure_server.answer(200, json.dumps(WHOLE).encode())])
    lock = threading.Lock()

    def script(_body):
        with lock:
            return [next(answers, measure_server.CUT)]

    knobs = Knobs()
    with measure_server.serving(script) as server:
        probes = run_probes(Endpoint(server.url, knobs.model), expects=expectations(knobs), timeout_s=30)
    first = {probe.check: probe for probe in probes}["server.answers"]
    assert first.outcome == "broken"
    assert first.detail.startswith("the server stopped answering")
    assert "checks were not done" in first.detail
    assert len(probes) <= 1 + 2 * MOST_SILENT  # four at once, and no others after the first


def test_streams_that_all_hang_cost_a_few_deadlines_only():
    knobs = Knobs(hang_share=1)
    begun_s = time.monotonic()
    with serving(knobs) as url:
        probes = run_probes(Endpoint(url, knobs.model), expects=expectations(knobs), timeout_s=1.5)
    assert probes[0].detail.startswith(f"{MOST_SILENT} checks got no answer")
    assert len(probes) < len(CHECKS) / 2
    assert time.monotonic() - begun_s < 40


def test_an_answer_that_drips_misses_the_deadline():
    drip = [measure_server.STREAM_HEAD, *[part for _ in range(400) for part in (measure_server.framed(b":\n"), 0.05)]]
    knobs = Knobs()
    with measure_server.serving(lambda _: drip) as server:
        begun_s = time.monotonic()
        probes = run_probes(Endpoint(server.url, knobs.model), expects=expectations(knobs), timeout_s=1)
    assert "before the deadline" in probes[0].detail
    assert time.monotonic() - begun_s < 10


def test_secrets_of_the_server_are_cut_out_of_details():
    said = measure_server.answer(500, json.dumps({"message": f"launched with --api-key {KEY}"}).encode())
    with measure_server.serving(lambda _: [said]) as server:
        endpoint = Endpoint(server.url, "m", "sk-another-key")
        (probe,) = run_probes(endpoint, expects=expectations(Knobs()), timeout_s=10)
    assert "launched with" in probe.detail
    assert KEY not in probe.detail


def test_every_check_has_an_id_and_says_what_it_proves_and_on_whose_word():
    assert len(BY_ID) == len(CHECKS)
    for check in CHECKS:
        theme, _, promise = check.check_id.partition(".")
        assert theme.isalpha(), check
        assert promise, check
        assert check.proves.endswith("."), check
        assert check.when in {"together", "alone", "after"}


def test_the_documents_list_every_check():
    page = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    for check in CHECKS:
        assert f"| `{check.check_id}` | {check.proves} |" in page
    listed = [line for line in page.splitlines() if line.startswith("| `") and "." in line.split("`")[1]]
    assert len(listed) == len(CHECKS)


WHOLE = {
    "choices": [{"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
