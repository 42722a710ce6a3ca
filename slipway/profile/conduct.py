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
