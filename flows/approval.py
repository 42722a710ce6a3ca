"""Asking for approval in Prefect: the run pauses with the evidence in front of whoever opens its form."""

from __future__ import annotations

from typing import Literal

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from pydantic import ConfigDict, Field

from flows import events
from slipway.platforms.port import Deployment
from slipway.records.approval import Choice
from slipway.stages import approval
from slipway.stages.approval import Answer, Question
from slipway.stages.run import Run
from tasks import artifacts

ApprovalChoice = Literal["as the profile says", "always", "never"]
POLL_S = 3


class Decision(RunInput):
    """The form that an approver fills in."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject", "extend measurements"] = Field(
        title="Decision",
        description="Approve: users are switched. Reject: the candidate is stopped. Extend measurements: what is "
        "undecided is measured anew, doubled.",
    )
    decided_by: str = Field(title="Your name", min_length=2, max_length=100, description="It is kept in the record.")
    comment: str = Field("", title="Why", max_length=2000, description="For whoever reads the record.")


def ask_for_approval(run: Run, candidate: Deployment, choice: ApprovalChoice) -> None:
    """Let a person decide, if one must: in a terminal that has offered to, else in Prefect's pages.

    Raises:
        Rejected: If they said no, or nothing in time, or nobody may be asked.
    """
    ask = approval.nobody if choice == "never" else approval.who_asks(otherwise=ask_in_prefect)
    approval.approve(run, candidate, ask, always=choice == "always")


def ask_in_prefect(run: Run, question: Question) -> Answer | None:
    """Pause the run until its form is filled in; None if that was not done in time."""
    from slipway.records.plots import data_url, latency_svg  # noqa: PLC0415 - matplotlib takes a second, and only here

    entry = run.record.approvals[-1]
    picture = data_url(latency_svg(run.profile, run.ledger.evidence(run.record).samples))
    artifacts.markdown("approval", f"{question.text}\n\n![TTFT and TPOT]({picture})", run.release_id)
    about = {"reason": "; ".join(entry.reasons), "flow_run_id": flow_run.id}
    entry.flow_run_id, entry.prefect_api_url = flow_run.id, PREFECT_API_URL.value() or ""
    run.ledger.save(run.record)  # from now on `slipway approve` finds it
    events.tell("approval.requested", app=run.profile.app, release_id=run.release_id, **about)
    try:
        given = pause_flow_run(
            wait_for_input=Decision.with_initial_data(description=question.text),
            timeout=max(int(question.timeout_s), 1),
            poll_interval=POLL_S,
            key=f"approval-{len(run.record.approvals)}",
        )
    except FlowPauseTimeout:
        return None
    answer = Answer(Choice(given.decision), given.decided_by, given.comment)
    about = {"decision": given.decision, "decided_by": given.decided_by}
    events.tell("approval.decided", app=run.profile.app, release_id=run.release_id, **about)
    return answer
