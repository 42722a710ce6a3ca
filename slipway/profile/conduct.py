"""How a release is conducted: beside what serves or in its place, who is asked, what is watched afterwards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slipway.profile.spec import PositiveSeconds, Spec

Strategy = Literal["candidate", "in_place"]


class Exclusive(Spec):
    """What a run does while another one holds the app: exactly one may release it at a time."""

    on_busy: Literal["refuse", "wait"] = Field("refuse", description="Whether a second run ends at once, or waits.")
    wait_at_most_s: PositiveSeconds = Field(3600, description="A run that waits ends as `Busy` after this time.")


class Watch(Spec):
    """What is looked at after a promotion, and what follows when it goes wrong."""

    duration_s: PositiveSeconds = Field(900, description="How long a promoted release is watched.")
    every_s: float = Field(10, ge=0.1, le=600, description="Time between rounds of requests.")
    streams: int = Field(2, ge=1, le=64, description="Requests of each round, sent at once.")
    failed_at_most: float = Field(
        0.05, ge=0, lt=1, description="Share of requests that may fail. More, beyond chance, is trouble."
    )
    silent_at_most_s: PositiveSeconds = Field(
        60, description="A release that has not answered a single request for so long counts as hung."
    )
    on_trouble: Literal["roll_back", "report"] = Field(
        "roll_back", description="Whether the release before serves again, or people are only told."
    )


class Approval(Spec):
    """Whether a person decides before users are switched. One is asked in any case where a gate stayed undecided."""

    required: bool = Field(
        False,
        description="Ask before every promotion; else only where a critical or required gate stayed undecided, or a "
        "finding of preflight is waived.",
    )
    wait_at_most_s: PositiveSeconds = Field(
        3600, description="After this time without an answer the candidate is stopped and the run rejected."
    )
    extensions_at_most: int = Field(
        2, ge=0, le=5, description="How often the approver may have what is undecided measured anew, doubled."
    )
