"""Runs Slipway's own client, as `slipway measure` does: `drive`, then `parse_all`.

`python -m benchmarks.peers.slipway_driver URL STREAMS REQUESTS TOKENS OUT`
"""

from __future__ import annotations

import itertools
import resource
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec

from benchmarks.peers.figures import Raw
from slipway.endpoint import Endpoint
from slipway.measure.client import drive
from slipway.measure.load import ClosedLoop
from slipway.measure.metrics import tpot_s, ttft_s
from slipway.measure.samples import parse_all
from slipway.measure.workload import ChatRequest

TIMEOUT_S = 300.0


def cpu_s() -> float:
    """User and system time of this process and of the children it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main(url: str, streams: int, count: int, tokens: int, out: Path) -> None:
    body = {
        "messages": [{"role": "user", "content": " ".join(f"w{number}" for number in range(64))}],
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    names = [f"bench-{index:05d}" for index in range(count)]
    requests = [ChatRequest(name, {**body, "user": name}) for name in names]
    before_s = cpu_s()
    observed = drive(Endpoint(url, "truth"), requests, ClosedLoop(streams), timeout_s=TIMEOUT_S)
    drive_cpu_s = cpu_s() - before_s
    samples = parse_all("bench", observed.exchanges)
    work_cpu_s = cpu_s() - before_s

    failed = [sample.error for sample in samples if sample.error]
    if failed:
        sys.exit(f"{len(failed)} of {count} requests failed: {failed[0]}")
    tpots_s = tpot_s(samples)
    raw = Raw(
        ttft_s=ttft_s(samples).tolist(),
        tpot_s=tpots_s.tolist(),
        gap_s=[b - a for sample in samples for a, b in itertools.pairwise(sample.event_s)],
        work_cpu_s=work_cpu_s,
        complaints=list(observed.quality.complaints(float(tpots_s.mean()) if len(tpots_s) else None)),
    )
    out.write_bytes(msgspec.json.encode(raw))
    about = {"drive_cpu_s": drive_cpu_s, "parse_cpu_s": work_cpu_s - drive_cpu_s, "quality": asdict(observed.quality)}
    out.with_name("about.json").write_bytes(msgspec.json.encode(about))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
