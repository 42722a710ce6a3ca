"""From least to most: all that can be said of a duration before it was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Seconds, from least to most."""

    least_s: float
    most_s: float

    def __add__(self, other: Range) -> Range:
        return Range(self.least_s + other.least_s, self.most_s + other.most_s)


NONE = Range(0.0, 0.0)
