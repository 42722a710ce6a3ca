"""One thing that was looked at before a release: whether it is as it should be, and what to do if it is not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """A failed check keeps a release from going well; a warning may."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, and what was seen.

    Attributes:
        name: What was looked at, in a few words.
        health: How it is.
        seen: What was seen, in a sentence.
        remedy: What to do about it; empty where nothing is to be done.
    """

    name: str
    health: Health
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a release asks of its platform.

    Attributes:
        volumes: Names of the volumes it uses, or makes where they are not there.
        secrets: Names of the secrets that must have values.
        gpus: GPUs that it holds at once, with the live release beside the candidate.
    """

    volumes: tuple[str, ...]
    secrets: tuple[str, ...]
    gpus: int = 0
