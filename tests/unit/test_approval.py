"""Approval: asked when it must be, with all that is known; whoever decides is on record, and nobody is no yes."""

from __future__ import annotations

import io
import sys
from typing import cast

import httpx
import pytest

from slipway.cli import approval as commands
from slipway.errors import Misconfigured, Rejected, Transient
from slipway.gates.verdict import Decision, Verdict
from slipway.platforms.port import Deployment, Platform
from slipway.preflight.plan import Finding, Severity
from slipway.profile import Level, Waiver, load_profile
from slipway.profile.conduct import Approval as Spec
from slipway.records.approval import Approval, Choice
from slipway.records.events import StageEvent, observed_by
from slipway.records.ledger import Ledger
from slipway.stages import approval
from slipway.stages.approval import Answer, Ask, Question, approve, asked_by, nobody, reasons, who_asks
from slipway.stages.forecast import plan_without_platform
from slipway.stages.gating import undecided_workloads
from slipway.stages.run import Run
from slipway.units import utc_now
from tests.support.stage_platform import MemoryPlatform

PROFILE = load_profile("glm51").model_copy(update={"measure_live": False})
CANDIDATE = Deployment(PROFILE.app, "server-1", "r", "http://server-1")
GATE = next(gate for gate in PROFILE.gates if gate.level is Level.CRITICAL and gate.workload)
WAIVER = Waiver(rule="some-rule", reason="it is known and harmless", expires="2099-01-01")


def verdict(decision: Decision, level: Level = Level.CRITICAL) -> Verdict:
    return Verdict(gate=GATE.gate_id, level=level, decision=decision, limit="at most 1", n=3, reason="too few requests")


@pytest.fixture
def run() -> Run:
    """A run that has been judged, and needs nobody."""
    made = Run(PROFILE, cast("Platform", MemoryPlatform()), "http://hub")
    made.record.plan = plan_without_platform(PROFILE)
    made.record.plan = made.record.plan.model_copy(update={"findings": ()})
    made.record.verdicts = [verdict(Decision.PASS), verdict(Decision.INCONCLUSIVE, Level.ADVISORY)]
    return made


class Approver:
    """Answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: Answer | None) -> None:
        self.answers = iter(answers)
        self.asked: list[Question] = []

    def __call__(self, run: Run, question: Question) -> Answer | None:
        self.asked.append(question)
        return next(self.answers)


def undecided(run: Run) -> Run:
    run.record.verdicts = [verdict(Decision.INCONCLUSIVE)]
    return run


def test_nobody_is_asked_where_nothing_needs_it(run: Run) -> None:
    approve(run, CANDIDATE, nobody)
    assert run.record.approvals == []


def test_an_undecided_gate_a_waived_finding_and_the_profile_need_somebody(run: Run) -> None:
    assert reasons(run) == ()
    assert reasons(run, always=True) == ("every promotion is to be approved",)
    undecided(run)
    assert reasons(run) == (f"gate {GATE.gate_id} is undecided: too few requests",)
    finding = Finding(rule="some-rule", severity=Severity.ERROR, message="m", remedy="r", waiver=WAIVER)
    run.record.plan = run.plan.model_copy(update={"findings": (finding,)})
    assert "some-rule is waived until 2099-01-01: it is known and harmless" in reasons(run)
    run.profile = PROFILE.model_copy(update={"approval": Spec(required=True)})
    assert len(reasons(run)) == 3


def test_the_approver_sees_what_is_known_and_is_on_record(run: Run) -> None:
    asking = Approver(Answer(Choice.APPROVE, "Ada", "fine"))
    seen: list[StageEvent] = []
    with observed_by(seen.append):
        approve(undecided(run), CANDIDATE, asking)

    text = asking.asked[0].text
    for words in (run.release_id, "too few requests", GATE.gate_id, "$50.00 an hour", "the candidate is stopped"):
        assert words in text
    stored = Ledger(run.platform).load(run.release_id).approvals
    assert [(a.choice, a.decided_by, a.comment) for a in stored] == [(Choice.APPROVE, "Ada", "fine")]
    assert stored[0].decided_at is not None
    assert [event.kind for event in seen] == ["started", "done"]


def test_a_no_ends_the_run_with_the_name(run: Run) -> None:
    with pytest.raises(Rejected, match="Ada has rejected it: too slow"):
        approve(undecided(run), CANDIDATE, Approver(Answer(Choice.REJECT, "Ada", "too slow")))


def test_no_answer_in_time_is_no(run: Run) -> None:
    with pytest.raises(Rejected, match=r"Nobody has decided within 1h00m \(approval\.wait_at_most_s\)"):
        approve(undecided(run), CANDIDATE, Approver(None))
    assert Ledger(run.platform).load(run.release_id).approvals[0].choice is None


def test_where_nobody_can_be_asked_it_is_no(run: Run) -> None:
    with pytest.raises(Rejected, match="nobody can be asked"):
        approve(undecided(run), CANDIDATE, nobody)
    assert run.record.approvals[0].decided_at is not None


def test_measuring_again_doubles_and_has_an_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    times_taken: list[int] = []
    monkeypatch.setattr(approval, "measure_again", lambda run, candidate, times: times_taken.append(times))
    more = Answer(Choice.EXTEND, "Ada")
    asking = Approver(more, more, more, Answer(Choice.REJECT, "Ada"))
    with pytest.raises(Rejected):
        approve(undecided(run), CANDIDATE, asking)
    assert times_taken == [2, 4]
    assert [question.may_extend for question in asking.asked] == [True, True, False, False]


def test_measuring_again_may_decide(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(run: Run, candidate: Deployment, times: int) -> None:
        run.record.verdicts = [verdict(Decision.PASS)]

    monkeypatch.setattr(approval, "measure_again", measure)
    approve(undecided(run), CANDIDATE, Approver(Answer(Choice.EXTEND, "Ada")))
    assert [a.choice for a in run.record.approvals] == [Choice.EXTEND]


def test_only_what_requests_can_decide_is_measured_again(run: Run) -> None:
    assert undecided_workloads(undecided(run)) == {GATE.workload}
    no_workload = verdict(Decision.INCONCLUSIVE).model_copy(update={"gate": "config_drift"})
    run.record.verdicts = [no_workload]
    assert undecided_workloads(run) == frozenset()


def test_the_wait_is_no_overhead(run: Run) -> None:
    began = utc_now()
    run.record.approvals = [Approval(asked_at=began.replace(year=2020), deadline_s=1, decided_at=began)]
    from slipway.records.record import Outcome

    assert run.finish(Outcome.PROMOTED, "", error=None, exit_code=0).overhead_s < 0


def test_the_outermost_program_says_who_asks() -> None:
    first, second = cast("Ask", Approver()), cast("Ask", Approver())
    assert who_asks(first) is first
    with asked_by(second):
        assert who_asks(first) is second
    assert who_asks(first) is first


QUESTION = Question("a.1", "# Shall it?", timeout_s=5, may_extend=False)


@pytest.mark.parametrize(("typed", "choice"), [("a\n", Choice.APPROVE), ("no idea\ne\nReject\n", Choice.REJECT)])
def test_in_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str, choice: Choice) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    monkeypatch.setattr(commands.select, "select", lambda r, w, x, t: (r, [], []))
    answer = commands.ask_in_terminal(cast("Run", None), QUESTION)
    assert answer is not None
    assert answer.choice is choice
    assert "@" in answer.decided_by


def test_a_terminal_that_is_closed_or_silent_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    monkeypatch.setattr(commands.select, "select", lambda r, w, x, t: (r, [], []))
    assert commands.ask_in_terminal(cast("Run", None), QUESTION) is None
    monkeypatch.setattr(commands.select, "select", lambda r, w, x, t: ([], [], []))
    assert commands.ask_in_terminal(cast("Run", None), QUESTION) is None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Response | Exception]:
    """What Prefect's server answers next."""
    answers: list[httpx.Response | Exception] = []

    def post(url: str, **options: object) -> httpx.Response:
        assert url == "http://prefect/api/flow_runs/f-1/resume"
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(commands.httpx, "post", post)
    return answers


WAITING = Approval(asked_at=utc_now(), deadline_s=9, flow_run_id="f-1", prefect_api_url="http://prefect/api")


def test_the_server_takes_the_decision(server: list[httpx.Response | Exception]) -> None:
    server.append(httpx.Response(201, json={"status": "ACCEPT", "details": {}}))
    commands._resume(WAITING, {"decision": "approve"})


def test_a_server_that_is_busy_is_asked_again(
    server: list[httpx.Response | Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PAUSE_S", 0.0)
    server += [httpx.Response(503), httpx.Response(503), httpx.Response(201, json={"status": "ACCEPT"})]
    commands._resume(WAITING, {"decision": "approve"})
    assert not server
    monkeypatch.setattr(commands, "BUSY_S", -1.0)
    server.append(httpx.Response(503))
    with pytest.raises(Transient, match="busy"):
        commands._resume(WAITING, {"decision": "approve"})


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (httpx.Response(200, json={"status": "REJECT", "details": {"reason": "not paused"}}), Misconfigured, "paused"),
        (httpx.Response(404, text="gone"), Misconfigured, "gone"),
        (httpx.ConnectError("refused"), Transient, "does not answer"),
    ],
)
def test_a_server_that_does_not_take_it_is_told_in_words(
    server: list[httpx.Response | Exception], answer: httpx.Response | Exception, kind: type[Exception], words: str
) -> None:
    server.append(answer)
    with pytest.raises(kind, match=words):
        commands._resume(WAITING, {"decision": "approve"})


def test_only_an_open_question_can_be_answered(run: Run) -> None:
    run.ledger.save(run.record)
    with pytest.raises(Misconfigured, match="does not wait"):
        commands._waiting(run.ledger, run.release_id)
    run.record.approvals = [WAITING]
    run.ledger.save(run.record)
    assert commands._waiting(run.ledger, run.release_id) == WAITING
