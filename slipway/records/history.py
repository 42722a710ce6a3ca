"""The history of releases: which there were, as a table, and how a figure moved from one to the next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from slipway.errors import Misconfigured
from slipway.records.compare import Measured, comparison_key_of, figures_of
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome, ReleaseRecord
from slipway.units import utc_now

if TYPE_CHECKING:
    import pandas as pd

_AGO: Final = re.compile(r"(\d{1,5})([hdw])")
_AGO_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}
_BARS: Final = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One release's figure.

    Attributes:
        release_id: Whose.
        outcome: How it ended.
        value: The figure.
        low: Its lower bound; None where it has none.
        high: Its upper bound; None where it has none.
        comparison_key: Figures with the same one compare.
    """

    release_id: str
    outcome: Outcome
    value: float
    low: float | None = None
    high: float | None = None
    comparison_key: str = ""


def release_before(ledger: Ledger, record: ReleaseRecord) -> ReleaseRecord | None:
    """The record of the release that served before: by its version, else the last that was promoted earlier."""
    earlier = [each for each in ledger.records(record.app) if each.started_at < record.started_at]
    promoted = [each for each in earlier if each.outcome is Outcome.PROMOTED]
    named = [each for each in promoted if each.version is not None and each.version == record.previous_version]
    return next(reversed(named or promoted), None)


def chosen(
    records: Sequence[ReleaseRecord],
    *,
    outcome: Outcome | None = None,
    since: datetime | None = None,
    last: int | None = None,
) -> list[ReleaseRecord]:
    """Those records that a reader asks for, oldest first."""
    found = [
        record
        for record in records
        if (outcome is None or record.outcome is outcome) and (since is None or record.started_at >= since)
    ]
    return found[-last:] if last else found


def parse_since(text: str) -> datetime:
    """A date (`2026-11-22`), a time (ISO 8601, UTC unless it says otherwise) or an age: `12h`, `7d`, `2w`.

    Raises:
        Misconfigured: If it is none of these.
    """
    if ago := _AGO.fullmatch(text.strip()):
        return utc_now() - timedelta(**{_AGO_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Misconfigured(
            f"{text!r} is no date and no age.", remedy="Write 2026-11-22, 2026-11-22T13:00, 12h, 7d or 2w."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def frame(records: Sequence[ReleaseRecord]) -> pd.DataFrame:
    """One row a release, oldest first: how it ended, what it took, and a column for each figure."""
    import pandas as pd  # noqa: PLC0415 - takes half a second, and only where there is a table

    return pd.DataFrame([_row(record) for record in records])


def trend(records: Sequence[ReleaseRecord], figure: str) -> list[TrendPoint]:
    """A figure's values over releases that have it, oldest first; also `cost_usd` and `took_s` of the run.

    Raises:
        Misconfigured: If no release has it, naming those that there are.
    """
    measured = {record.release_id: _figures_of_run(record) for record in records}
    points = [
        TrendPoint(
            release_id=record.release_id,
            outcome=record.outcome,
            value=found.estimate,
            low=found.low,
            high=found.high,
            comparison_key=comparison_key_of(record, figure),
        )
        for record in records
        if (found := measured[record.release_id].get(figure)) is not None
    ]
    if not points:
        _refuse_unknown(figure, sorted({name for figures in measured.values() for name in figures}))
    return points


def joined(points: Sequence[TrendPoint]) -> list[bool]:
    """For each point whether it compares with the one before; the first has nothing that it differs from."""
    keys = [point.comparison_key for point in points]
    return [before == key for before, key in zip([*keys[:1], *keys], keys, strict=False)]


def sparkline(values: Sequence[float]) -> str:
    """The values as bars of eighths, from their least to their most; flat where they are alike."""
    least, most = min(values, default=0.0), max(values, default=0.0)
    if least == most:
        return _BARS[3] * len(values)
    steps = np.round((np.array(values) - least) / (most - least) * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[step] for step in steps)


def _figures_of_run(record: ReleaseRecord) -> dict[str, Measured]:
    took = {"took_s": Measured(estimate=record.took_s)} if record.took_s is not None else {}
    return figures_of(record) | took | {"cost_usd": Measured(estimate=record.cost_usd)}


def _row(record: ReleaseRecord) -> dict[str, object]:
    about = {
        "release_id": record.release_id,
        "app": record.app,
        "profile": record.profile.get("name"),
        "started_at": record.started_at,
        "outcome": record.outcome.value,
        "version": record.version,
        "commit": record.commit,
        "reason": record.reason,
    }
    return about | {name: measured.estimate for name, measured in _figures_of_run(record).items()}


def _refuse_unknown(figure: str, known: Sequence[str]) -> None:
    near = difflib.get_close_matches(figure, known, n=1, cutoff=0.4)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    raise Misconfigured(
        f"No release of these has a figure {figure!r}.",
        remedy=f"{meant}There are {', '.join(known)}." if known else "None of them came as far as its gates.",
    )
