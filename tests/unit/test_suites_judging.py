"""Accuracy of suites, from stored evidence: what is unparsed is told, and repeats are no new questions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.endpoint import Endpoint
from slipway.gates import session as session_module
from slipway.gates.case import Case
from slipway.gates.evidence import Comparable, Evidence, Facts, read_folder, save_facts, save_samples
from slipway.gates.judge import judge
from slipway.gates.kinds import accuracy
from slipway.gates.questions import Asked, save_questions
from slipway.gates.verdict import Decision, Verdict
from slipway.measure.prompts.dataset import DIRECTORY_VARIABLE
from slipway.measure.prompts.question import Question
from slipway.measure.samples import Sample
from slipway.measure.workload import ChatRequest, build
from slipway.profile import Gate, Profile, Workload, load_profile
from tests.support.measure_samples import sample, seen
from tests.support.suite_datasets import AIME, parquet, placed, suite

REPEATS = 4


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workload:
    """Six questions of AIME, each asked four times."""
    tiny = parquet(AIME)
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(placed(tmp_path / "datasets", tiny)))
    return suite("aime@1", tiny.file, requests=24, repeats=REPEATS, temperature=1.0)


def profile(spec: Workload, **gate: Any) -> Profile:
    gates = (Gate.model_validate({"metric": "accuracy", "workload": "math", **gate}),)
    return load_profile("miniature").model_copy(update={"workloads": {"math": spec}, "gates": gates})


def answered(spec: Workload, wrong: frozenset[int] = frozenset(), **changes: Any) -> list[Sample]:
    """Every request answered; those of the questions named are wrong each time."""
    return [_answer(request, wrong, changes) for request in build("math", spec)]


def _answer(request: ChatRequest, wrong: frozenset[int], changes: dict[str, Any]) -> Sample:
    assert isinstance(request.problem, Question)
    number = int(request.problem.item.removeprefix("aime/"))
    content = "\\boxed{999}" if number in wrong else f"\\boxed{{{request.problem.answers[0]}}}"
    return sample(workload="math", request_id=request.request_id, **({"content": content} | changes))


def evidence(spec: Workload, samples: list[Sample], **facts: Any) -> Evidence:
    asked = {request.request_id: Asked.of(request) for request in build("math", spec)}
    return dataclasses.replace(seen({"math": samples}, **facts), questions={"math": asked})


def verdict(spec: Workload, samples: list[Sample], baseline: dict[str, bool] | None = None, **gate: Any) -> Verdict:
    facts = {"baseline": {"math": Comparable(releases=("r1",), right=baseline)}} if baseline else {}
    (found,) = judge(profile(spec, **gate), evidence(spec, samples, **facts))
    return found


def as_if_independent(
    spec: Workload, samples: list[Sample], baseline: dict[str, bool] | None = None, **gate: Any
) -> Verdict:
    """The verdict on the same answers, had each been to a question of its own."""
    facts = {"baseline": {"math": Comparable(releases=("r1",), right=baseline)}} if baseline else {}
    once = profile(spec.model_copy(update={"repeats": 1}), **gate)
    (found,) = judge(once, evidence(spec, samples, **facts))
    return found


def test_unparsed_and_failed_are_told_apart_and_all_count_against_the_floor(spec: Workload) -> None:
    samples = answered(spec)
    samples[0] = dataclasses.replace(samples[0], content="I do not know.")
    samples[1] = dataclasses.replace(samples[1], error="HTTP 503: busy", content="")
    samples[2] = dataclasses.replace(samples[2], content="\\boxed{999}")
    found = verdict(spec, samples, statistic="share", at_least=0.2)
    assert found.estimate == 21 / 24
    assert "1 of 24 answers unparsed, 1 requests failed" in found.reason
    assert "unparsed" not in verdict(spec, answered(spec), statistic="share", at_least=0.2).reason


def test_repeats_are_no_new_questions(spec: Workload) -> None:
    samples = answered(spec, wrong=frozenset({0, 1}))
    repeated = verdict(spec, samples, statistic="share", at_least=0.1)
    once = as_if_independent(spec, samples, statistic="share", at_least=0.1)
    assert repeated.estimate == once.estimate == pytest.approx(4 / 6)
    assert repeated.low is not None
    assert once.low is not None
    assert repeated.low < once.low - 0.1


def test_six_questions_all_right_do_not_show_certainty(spec: Workload) -> None:
    found = verdict(spec, answered(spec), statistic="share", at_least=0.95)
    assert found.estimate == 1
    assert found.low is not None
    assert found.low < 0.95
    assert found.decision is Decision.INCONCLUSIVE


def test_drop_is_paired_by_request_and_counts_questions(spec: Workload) -> None:
    before = {request.request_id: True for request in build("math", spec)}
    samples = answered(spec, wrong=frozenset({3}))
    repeated = verdict(spec, samples, before, statistic="drop", at_most=0.5)
    once = as_if_independent(spec, samples, before, statistic="drop", at_most=0.5)
    assert repeated.estimate == pytest.approx(1 / 6)
    assert repeated.high is not None
    assert once.high is not None
    assert repeated.high > once.high


def test_stored_evidence_needs_no_dataset(spec: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = profile(spec, statistic="share", at_least=0.5)
    seen_now = evidence(spec, answered(spec, wrong=frozenset({2})))
    folder = tmp_path / "evidence"
    save_facts(folder, Facts())
    save_samples(folder, "math", seen_now.samples["math"], seen_now.quality["math"])
    save_questions(folder, "math", build("math", spec))
    verdicts = judge(chosen, seen_now)
    monkeypatch.delenv(DIRECTORY_VARIABLE)
    again = read_folder(folder)
    assert again.questions == seen_now.questions
    assert [v.model_dump_json() for v in judge(chosen, again)] == [v.model_dump_json() for v in verdicts]


def test_note_is_empty_without_anything_to_note(spec: Workload) -> None:
    chosen = profile(spec, statistic="share", at_least=0.5)
    assert accuracy.note(Case(chosen, chosen.gates[0], evidence(spec, answered(spec)))) == ""


# --- while it is measured --------------------------------------------------------------------------------------


def test_session_keeps_what_it_asks_and_ends_with_the_questions(
    spec: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def drive(_endpoint: Endpoint, requests: list[ChatRequest], *_: Any, **__: Any) -> Any:
        sent.append(len(requests))
        exchanges = [_answer(request, frozenset({0, 1, 2}), {}) for request in requests]
        return SimpleNamespace(exchanges=exchanges, quality=seen({"math": []}).quality["math"])

    monkeypatch.setattr(session_module, "drive", drive)
    monkeypatch.setattr(
        session_module,
        "parse_all",
        lambda _name, all_, block: [dataclasses.replace(each, block=block) for each in all_],
    )
    monkeypatch.setattr("slipway.gates.looks.available", lambda _workload: 24)
    chosen = profile(spec.model_copy(update={"requests": 18, "blocks": 2}), statistic="share", at_least=0.5)
    save_facts(tmp_path / "evidence", Facts())
    kept = session_module.session(
        Endpoint("http://nobody", "m", None), chosen, tmp_path / "evidence", timeout_s=1, progress=lambda _p: None
    )
    assert sent == [9, 9, 6]  # undecided at 0.5: two blocks, and an extension of what is left of the questions
    assert set(kept.questions["math"]) == {each.request_id for each in kept.samples["math"]}
    (found,) = judge(chosen, kept)
    assert (found.estimate, found.n) == (0.5, 24)
