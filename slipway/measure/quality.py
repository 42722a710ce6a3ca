"""The measuring client's report on itself: whether its figures are the server's or its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

BY_DESIGN_S: Final = 1e-3
"""Events of a stream that share a read this long after the client's nap are no fault of its."""

MAX_LAG_STEPS: Final = 0.5
MAX_MERGED_SHARE: Final = 0.01
MAX_DISPATCH_LAG_S: Final = 0.02
MAX_DISPATCH_LAG_STEPS: Final = 2.0
MAX_CLOCK_SLEW: Final = 5e-4  # what Linux slews a clock by; more is a clock that was set
MAX_CLOCK_STEP_S: Final = 1e-3
UNKNOWN_STEP_S: Final = 1e-2

MAX_RUN_QUEUE_SHARE: Final = {"kernel": 0.25, "user": 0.05}
"""Kernel stamps are right whenever they are read; but who waits for a processor sends late, too."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well the client did in one run.

    Attributes:
        stamps: Who stamped arrivals: the kernel as a segment came, or the client as it read it.
        processes: Processes the load was spread over.
        wall_s: Length of the run.
        cpu_s: Processor time it took, user and system, of all processes.
        run_queue_s: Time the client was ready to run and had no processor; 0 where the kernel does not tell.
        lag_p50_s: Median over the reads of now - stamp; without kernel stamps, of the longest the bytes can have
            waited since the client last looked.
        lag_p99_s: 99th percentile of it.
        dispatch_lag_p99_s: 99th percentile of sent - intended; time spent on opening a connection is not in it.
        reads: Reads that held events.
        merged_share: Share of those in which events of a stream got one stamp because the client read late.
        clock_drift_s: Largest change of wall clock - monotonic clock over the run; stamps are corrected for it.
    """

    stamps: Literal["kernel", "user"]
    processes: int
    wall_s: float
    cpu_s: float
    run_queue_s: float
    lag_p50_s: float
    lag_p99_s: float
    dispatch_lag_p99_s: float
    reads: int
    merged_share: float
    clock_drift_s: float

    def complaints(self, tpot_s: float | None) -> tuple[str, ...]:
        """Why the run does not count, as sentences that say what to do; none if it counts.

        Lag is in the figures only where the client stamps: then it is judged in steps. Kernel stamps are right
        whenever they are read, until a read is so late that the next event of the stream is in it, too: they share
        the later's stamp. So with kernel stamps the merged share is judged, and lag is not.

        Args:
            tpot_s: The time per output token that was measured; None where there is none (10 ms is assumed).
        """
        step_s = UNKNOWN_STEP_S if tpot_s is None else tpot_s
        return tuple(
            complaint
            for complaint in (
                self._lag(step_s),
                self._merging(),
                self._dispatch(step_s),
                self._run_queue(),
                self._clock(),
            )
            if complaint
        )

    def _lag(self, step_s: float) -> str:
        if self.stamps == "kernel" or self.lag_p99_s <= MAX_LAG_STEPS * step_s:
            return ""
        return (
            f"The client, which stamps for want of kernel stamps, read 1 % of the data more than {_ms(self.lag_p99_s)} "
            f"late, with a step of {_ms(step_s)}: measure with fewer streams, or from a machine with faster or more "
            "idle cores."
        )

    def _merging(self) -> str:
        if self.merged_share <= MAX_MERGED_SHARE:
            return ""
        return (
            f"The client merged events in {self.merged_share:.1%} of its reads because it read late (limit "
            f"{MAX_MERGED_SHARE:.0%}): measure with fewer streams, or from a machine with faster or more idle cores."
        )

    def _dispatch(self, step_s: float) -> str:
        limit_s = max(MAX_DISPATCH_LAG_S, MAX_DISPATCH_LAG_STEPS * step_s)
        if self.dispatch_lag_p99_s <= limit_s:
            return ""
        return (
            f"The client sent 1 % of the requests more than {_ms(self.dispatch_lag_p99_s)} late (limit "
            f"{_ms(limit_s)}), so the load was not as asked for: send at a lower rate, or from a less busy machine."
        )

    def _run_queue(self) -> str:
        share = self.run_queue_s / (self.wall_s * self.processes) if self.wall_s else 0.0
        limit = MAX_RUN_QUEUE_SHARE[self.stamps]
        if share <= limit:
            return ""
        return (
            f"The client waited for a processor in {share:.0%} of the time (limit {limit:.0%}): stop what else runs on "
            "this machine, or measure from another."
        )

    def _clock(self) -> str:
        if self.stamps == "user" or abs(self.clock_drift_s) <= MAX_CLOCK_STEP_S + MAX_CLOCK_SLEW * self.wall_s:
            return ""
        return (
            f"The wall clock was set by {_ms(self.clock_drift_s)} during the run, and the kernel stamps with it: "
            "measure again once the time service has settled."
        )


def merge(qualities: Sequence[Quality]) -> Quality:
    """The report on several runs one after another, such as the blocks of one workload.

    Percentiles cannot be merged: the worst counts.
    """
    return _merged(
        qualities,
        processes=max((each.processes for each in qualities), default=1),
        wall_s=sum(each.wall_s for each in qualities),
    )


def merge_processes(qualities: Sequence[Quality]) -> Quality:
    """The report on one run out of those of the processes that shared it."""
    return _merged(qualities, processes=len(qualities), wall_s=max((each.wall_s for each in qualities), default=0.0))


def _merged(qualities: Sequence[Quality], *, processes: int, wall_s: float) -> Quality:
    reads = sum(each.reads for each in qualities)
    return Quality(
        stamps="kernel" if all(each.stamps == "kernel" for each in qualities) else "user",
        processes=processes,
        wall_s=wall_s,
        cpu_s=sum(each.cpu_s for each in qualities),
        run_queue_s=sum(each.run_queue_s for each in qualities),
        lag_p50_s=max((each.lag_p50_s for each in qualities), default=0.0),
        lag_p99_s=max((each.lag_p99_s for each in qualities), default=0.0),
        dispatch_lag_p99_s=max((each.dispatch_lag_p99_s for each in qualities), default=0.0),
        reads=reads,
        merged_share=sum(each.merged_share * each.reads for each in qualities) / reads if reads else 0.0,
        clock_drift_s=max((each.clock_drift_s for each in qualities), key=abs, default=0.0),
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"
