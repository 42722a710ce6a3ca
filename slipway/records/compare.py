"""Two releases beside each other: figures that compare, verdicts that differ, and what was changed between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from slipway.gates.verdict import Decision, is_comparison
from slipway.preflight.difference import ABSENT, changes
from slipway.records.record import ReleaseRecord

COLD_START: Final = "cold_start_s.total"
_COUNTS: Final = frozenset({"requests", "failed"})
_STATISTICS: Final = ("p50", "p95")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Measured(_Value):
    """A figure in its metric's unit, with one-sided confidence bounds where a gate gave some."""

    estimate: float
    low: float | None = None
    high: float | None = None


class FigureChange(_Value):
    """One figure of both releases.

    Attributes:
        figure: Its id, e.g. `ttft_s.p50@chat`.
        before: In the first release; None where it was not measured.
        now: In the second release; None where it was not measured.
        change: Relative change from the first; None where the two do not compare, or the first is 0.
        apart: Whether their intervals have nothing in common; None where the two do not compare or have none.
        why_not: Why they do not compare, as a sentence; empty where they do.
    """

    figure: str
    before: Measured | None
    now: Measured | None
    change: float | None = None
    apart: bool | None = None
    why_not: str = ""


class VerdictChange(_Value):
    """A gate that was decided otherwise; None where it was not judged.

    Attributes:
        gate: The gate's id.
        before: Decision on the first release.
        now: Decision on the second release.
        reason: Why the second is as it is.
    """

    gate: str
    before: Decision | None
    now: Decision | None
    reason: str


class Difference(_Value):
    """A value that is another; `-` where there is none."""

    field: str
    before: str
    now: str


class StageChange(_Value):
    """What a stage took and cost in both; None where it did not run."""

    stage: str
    before_s: float | None
    now_s: float | None
    before_usd: float | None
    now_usd: float | None


class Comparison(_Value):
    """All in which two releases differ.

    Attributes:
        before: Id of the first.
        now: Id of the second.
        figures: Every figure that either has.
        verdicts: Gates that were decided otherwise.
        identity: Commit, digests, keys and versions that differ.
        profile: Fields of the profile that differ.
        argv: Options of the engine's command line that differ.
        stages: Time and cost by stage.
        before_usd: Cost of the first.
        now_usd: Cost of the second.
    """

    before: str
    now: str
    figures: tuple[FigureChange, ...] = ()
    verdicts: tuple[VerdictChange, ...] = ()
    identity: tuple[Difference, ...] = ()
    profile: tuple[Difference, ...] = ()
    argv: tuple[Difference, ...] = ()
    stages: tuple[StageChange, ...] = ()
    before_usd: float = Field(0.0)
    now_usd: float = Field(0.0)


def compare(before: ReleaseRecord, now: ReleaseRecord) -> Comparison:
    """Put two records beside each other. Figures of a workload compare only where their comparison keys agree."""
    return Comparison(
        before=before.release_id,
        now=now.release_id,
        figures=tuple(_figure_changes(before, now)),
        verdicts=tuple(_verdict_changes(before, now)),
        identity=_differences(identity(before), identity(now)),
        profile=_differences(before.profile, now.profile),
        argv=_differences(options(before), options(now)),
        stages=tuple(_stage_changes(before, now)),
        before_usd=before.cost_usd,
        now_usd=now.cost_usd,
    )


def figures_of(record: ReleaseRecord) -> dict[str, Measured]:
    """Every figure of a release by its id; from a verdict where there is one, for those have bounds."""
    found = {
        _figure_id(workload, name): Measured(estimate=value)
        for workload, values in record.figures.items()
        for name, value in values.items()
        if name not in _COUNTS
    }
    for verdict in record.verdicts:
        if verdict.estimate is not None and not is_comparison(verdict.gate):
            found[verdict.gate] = Measured(estimate=verdict.estimate, low=verdict.low, high=verdict.high)
    phases = [seconds for phase, seconds in record.cold_start_s.items() if phase != "total"]
    return found | ({COLD_START: Measured(estimate=sum(phases))} if phases else {})


def comparison_key_of(record: ReleaseRecord, figure: str) -> str:
    """What must be equal for a figure to compare: its workload's key, or the hardware where it is of the release."""
    workload = figure.partition("@")[2]
    if workload:
        return record.comparison_keys.get(workload, "")
    hardware = record.profile.get("hardware", {})
    gpus = f"{hardware.get('gpu_count') or 0}x{hardware.get('gpu') or 'cpu'}"
    return f"{record.profile.get('platform', 'unknown')}/{gpus}"


def identity(record: ReleaseRecord) -> dict[str, str]:
    """What a release is made of, by name."""
    engine = record.profile.get("engine", {})
    return {
        "commit": record.commit,
        "manifest digest": record.manifest_digest,
        "kernel cache key": record.kernel_key,
        "image": str(engine.get("image") or ""),
        "Slipway": record.slipway_version,
        "engine": " ".join(filter(None, (engine.get("kind"), record.server.get("version") or engine.get("version")))),
    }


def options(record: ReleaseRecord) -> dict[str, str]:
    """The command line's options with their values; the release's own id, which always differs, by a name."""
    found: dict[str, str] = {}
    name = ""
    for word in record.argv:
        if word.startswith("--") and len(word) > len("--"):
            name = word
            found.setdefault(name, "")
        elif name and word != "--":
            found[name] = f"{found[name]} {word.replace(record.release_id, '${release}')}".strip()
    return {name: value or "set" for name, value in found.items()}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    return tuple(
        Difference(field=each.field, before=each.live or ABSENT, now=each.planned or ABSENT)
        for each in changes(before, now)
    )


def _figure_id(workload: str, name: str) -> str:
    """`ttft_s_p50` of `chat` as gates call it: `ttft_s.p50@chat`."""
    metric, _, statistic = name.rpartition("_")
    return f"{metric}.{statistic}@{workload}" if statistic in _STATISTICS else f"{name}.mean@{workload}"


def _figure_changes(before: ReleaseRecord, now: ReleaseRecord) -> Iterator[FigureChange]:
    old, new = figures_of(before), figures_of(now)
    for name in dict.fromkeys([*new, *old]):
        why_not = _why_not(name, before, now)
        a, b = old.get(name), new.get(name)
        if a is None or b is None or why_not:
            yield FigureChange(figure=name, before=a, now=b, why_not=why_not if a and b else "")
        else:
            change = (b.estimate - a.estimate) / a.estimate if a.estimate else None
            yield FigureChange(figure=name, before=a, now=b, change=change, apart=_apart(a, b))


def _why_not(figure: str, before: ReleaseRecord, now: ReleaseRecord) -> str:
    old, new = comparison_key_of(before, figure), comparison_key_of(now, figure)
    return "" if old and old == new else f"They were measured differently: {old or 'unknown'}, then {new or 'unknown'}."


def _apart(a: Measured, b: Measured) -> bool | None:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return None
    return a.high < b.low or b.high < a.low


def _verdict_changes(before: ReleaseRecord, now: ReleaseRecord) -> Iterator[VerdictChange]:
    old, new = ({verdict.gate: verdict for verdict in record.verdicts} for record in (before, now))
    for gate in dict.fromkeys([*new, *old]):
        decisions = [verdicts[gate].decision if gate in verdicts else None for verdicts in (old, new)]
        if decisions[0] is not decisions[1]:
            reason = new[gate].reason if gate in new else "it was not judged"
            yield VerdictChange(gate=gate, before=decisions[0], now=decisions[1], reason=reason)


def _stage_changes(before: ReleaseRecord, now: ReleaseRecord) -> Iterator[StageChange]:
    old, new = ({stage.name: stage for stage in record.stages} for record in (before, now))
    for name in dict.fromkeys([*new, *old]):
        a, b = old.get(name), new.get(name)
        yield StageChange(
            stage=name,
            before_s=a.seconds if a else None,
            now_s=b.seconds if b else None,
            before_usd=a.cost_usd if a else None,
            now_usd=b.cost_usd if b else None,
        )
