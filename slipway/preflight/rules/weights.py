"""Rules on how weights are brought to their volume, and read back from it."""

from __future__ import annotations

from slipway.preflight.plan import Severity
from slipway.preflight.rule import rule
from slipway.preflight.subject import Subject

MOST_WRITERS = 5
"""Of a Modal volume of version 1, which is what Slipway makes there."""


@rule(
    Severity.WARNING,
    happens="each of them commits its state to the volume, which is made for five writers: commits conflict and wait.",
    remedy="Hash in 5 jobs at most: together they read faster than one volume gives.",
    source="Modal, volumes",
    where="modal",
)
def volume_of_many_writers(s: Subject) -> str | None:
    """`weights.verify_workers` is above the writers of a volume of version 1."""
    workers = s.profile.weights.verify_workers
    return f"weights.verify_workers is {workers}, for a volume of version 1" if workers > MOST_WRITERS else None
