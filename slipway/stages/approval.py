"""Approval: a person decides before users are switched, with the evidence in front of them.

Asked where the profile says so, where a critical or required gate stayed undecided, and where a finding of preflight is
waived. A gate that failed is never asked about. Who is asked is the caller's: a form in Prefect's pages, a
terminal, a test. Meanwhile the candidate goes on and costs money, so the question has a deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from slipway.errors import Rejected, SlipwayError
from slipway.gates.verdict import blocking
from slipway.platforms.port import Deployment
from slipway.records.approval import Approval, Choice
from slipway.records.approval_page import page
from slipway.records.events import EventKind, StageEvent, publish
from slipway.stages.gating import measure_again, undecided_workloads
from slipway.stages.run import Run
from slipway.units import show_seconds, utc_now

APPROVAL = "approval"
"""What events call the time in which a person is waited for."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked.

    Attributes:
        release_id: The release to be promoted.
        text: All that is known, as Markdown.
        timeout_s: How long there is to answer.
        may_extend: Whether measuring again can be chosen.
    """

    release_id: str
    text: str
    timeout_s: float
    may_extend: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person decided."""

    choice: Choice
    decided_by: str
    comment: str = ""


Ask = Callable[[Run, Question], Answer | None]
"""Blocks until somebody has answered; None when nobody did in time."""

_asked: list[Ask] = []


@contextmanager
def asked_by(ask: Ask) -> Iterator[None]:
    """Have questions answered by `ask` while the block runs; set up by the outermost program."""
    _asked.append(ask)
    try:
        yield
    finally:
        _asked.remove(ask)


def who_asks(otherwise: Ask) -> Ask:
    """The one set up by `asked_by`, or else another."""
    return _asked[-1] if _asked else otherwise


def nobody(run: Run, question: Question) -> Answer | None:  # noqa: ARG001 - it has to look like the others
    """An `Ask` where there is nobody who could be asked."""
    raise Rejected(
        f"{question.release_id} needs somebody's approval, and nobody can be asked.",
        remedy="Release it from a terminal, or with a Prefect server of your own and `--approval always`.",
    )


def reasons(run: Run, *, always: bool = False) -> tuple[str, ...]:
    """Why a person must decide; nothing if no one must."""
    undecided = [f"gate {v.gate} is undecided: {v.reason}" for v in blocking(run.record.verdicts)]
    waived = [
        f"{finding.rule} is waived until {finding.waiver.expires}: {finding.waiver.reason}"
        for finding in run.plan.findings
        if finding.waiver
    ]
    asked = ["every promotion is to be approved"] if always or run.profile.approval.required else []
    return (*undecided, *waived, *asked)


def approve(run: Run, candidate: Deployment, ask: Ask, *, always: bool = False) -> None:
    """Let a person decide, if one must; measures again as often as they want and may.

    Args:
        run: The run, judged.
        candidate: What may be promoted.
        ask: Puts the question.
        always: Ask even if nothing makes it necessary.

    Raises:
        Rejected: If they said no, or nothing in time.
    """
    extensions = 0
    while why := reasons(run, always=always):
        may_extend = bool(undecided_workloads(run)) and extensions < run.profile.approval.extensions_at_most
        answer = _answer(run, ask, why, may_extend=may_extend)
        if answer.choice is Choice.APPROVE:
            return
        if answer.choice is Choice.REJECT:
            said = f": {answer.comment}" if answer.comment else ""
            raise Rejected(
                f"{answer.decided_by} has rejected it{said}.",
                remedy=f"`slipway show {run.release_id}` has what they saw.",
            )
        if may_extend:  # else they are asked again: a form cannot leave the choice out
            extensions += 1
            measure_again(run, candidate, times=2**extensions)


def _answer(run: Run, ask: Ask, why: tuple[str, ...], *, may_extend: bool) -> Answer:
    timeout_s = min(run.profile.approval.wait_at_most_s, run.remaining_s())
    entry = Approval(asked_at=utc_now(), reasons=list(why), deadline_s=timeout_s)
    run.record.approvals.append(entry)
    run.ledger.save(run.record)
    text = page(run.record, entry, spent_usd=run.spent_usd, may_extend=may_extend)
    question = Question(run.release_id, text, timeout_s, may_extend)
    _tell(run, entry, "started", f"{'; '.join(why)}. `slipway approve {run.release_id}`, or `slipway reject`")
    try:
        answer = ask(run, question)
    except BaseException as error:
        entry.decided_at = utc_now()
        _tell(run, entry, "failed", error.message if isinstance(error, SlipwayError) else repr(error))
        raise
    entry.decided_at = utc_now()
    if answer is None:
        run.ledger.save(run.record)
        late = f"Nobody has decided within {show_seconds(timeout_s)} (approval.wait_at_most_s)"
        _tell(run, entry, "failed", late)
        raise Rejected(f"{late}.", remedy="Release it again when somebody is there, or allow more time.")
    entry.choice, entry.decided_by, entry.comment = answer.choice, answer.decided_by, answer.comment
    run.ledger.save(run.record)
    _tell(run, entry, "done", f"{answer.choice.value} by {answer.decided_by}")
    return answer


def _tell(run: Run, entry: Approval, kind: EventKind, message: str) -> None:
    publish(StageEvent(run.release_id, APPROVAL, kind, message, entry.waited_s))
