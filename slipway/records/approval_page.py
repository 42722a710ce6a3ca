"""What an approver sees before they decide: one page of Markdown, for a form, an artifact and a terminal."""

from __future__ import annotations

from datetime import timedelta

from slipway.records.approval import Approval
from slipway.records.record import ReleaseRecord
from slipway.records.report import change_table, gate_table
from slipway.units import show_seconds, show_usd


def page(record: ReleaseRecord, asked: Approval, *, spent_usd: float, may_extend: bool) -> str:
    """Everything that an approver should see, as Markdown.

    Args:
        record: The run's.
        asked: The question.
        spent_usd: What the run has cost until now.
        may_extend: Whether measuring again can be chosen.
    """
    deadline = asked.asked_at + timedelta(seconds=asked.deadline_s)
    rate = show_usd(float(record.profile["hardware"]["cost_per_hour_usd"]))
    live = record.previous_version
    parts = [
        f"## Shall {record.release_id} be promoted?",
        "\n".join(f"- {reason}" for reason in asked.reasons),
        f"Spent so far: {show_usd(spent_usd)}. Waiting costs {rate} an hour. Without an answer until "
        f"{deadline:%H:%M} UTC, {show_seconds(asked.deadline_s)} from now, the candidate is stopped.",
        "*Approve* promotes it as it is. *Reject* stops it"
        + (f"; version {live} serves on." if live else "; nothing serves then.")
        + (" *Extend measurements* measures anew what is undecided, with twice the requests." if may_extend else ""),
        "### Gates",
        gate_table(record),
        f"### What changes against version {live}" if live else "It would be the first release of this app.",
    ]
    if live and record.plan is not None:
        parts.append(change_table(record.plan) or "Nothing.")
    return "\n\n".join(parts)
