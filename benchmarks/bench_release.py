"""How long a release of the miniature takes, how much of it is not the stages' own work, and how near its limits it is.

    make bench-release            medians of 3 runs each, with the share of the limit that they take

A first release fetches, verifies and compiles everything; the others find all of it there. `temporary` starts
Prefect's server for each run, `running` uses one that is up, and `unchecked` is the same without the checks of
conformance: what it is faster by is what they cost. Overhead is what the record says: wall time of
the flow that no stage accounts for. The line `prefect` says what its server keeps of one release, `calls` what it is
asked for one, by its own log. The table at the end has, for every gate, the worst bound of all runs: what was nearest
to its limit (docs/profiles.md says how limits are set from it).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from flows.server import start_prefect_server, wait_until_up
from slipway.profile import load_profile

SLIPWAY = Path(sys.executable).with_name("slipway")
LIMITS_S = {"temporary": 45.0, "running": 15.0, "unchecked": 15.0, "overhead": 5.0}
TIMEOUT_S = 600

Record = dict[str, Any]


def release(environment: dict[str, str], profile: str = "miniature") -> tuple[float, Record]:
    """Release once; wall time of the command in seconds, and the record."""
    began_s = time.monotonic()
    done = subprocess.run(
        [SLIPWAY, "redeploy", profile, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    took_s = time.monotonic() - began_s
    record = json.loads(done.stdout.splitlines()[-1])
    if "verdicts" not in record:
        raise SystemExit(f"the release did not begin: {record}")
    return took_s, record


def show(name: str, values_s: Sequence[float]) -> None:
    """A line with the median and its share of the limit."""
    median_s = statistics.median(values_s)
    share = f"{median_s / LIMITS_S[name]:.2f} of the limit of {LIMITS_S[name]:g} s" if name in LIMITS_S else ""
    runs = " ".join(f"{value:.2f}" for value in values_s)
    print(f"{name:<10} {median_s:7.2f} s  {share}  (runs: {runs})")


def show_gates(records: Sequence[Record]) -> None:
    """For every gate, the median estimate and the worst of the bounds that decide, beside the limit."""
    print(f"\n{'gate':<34} {'median':>9} {'worst bound':>12}  limit          not PASS")
    for gate in (verdict["gate"] for verdict in records[-1]["verdicts"]):
        found = [v for record in records for v in record["verdicts"] if v["gate"] == gate and v["low"] is not None]
        if not found:
            continue
        limit = found[-1]["limit"]
        bounds = [verdict["high" if limit.startswith("at most") else "low"] for verdict in found]
        worst = (max if limit.startswith("at most") else min)(bound for bound in bounds if bound is not None)
        median = statistics.median(verdict["estimate"] for verdict in found)
        failed = sum(verdict["decision"] != "PASS" for verdict in found)
        print(f"{gate:<34} {median:9.4f} {worst:12.4f}  {limit:<14} {failed} of {len(found)}")


def show_prefect(url: str) -> None:
    """What Prefect keeps of the newest release; task runs are kept only by a server with services."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        newest = client.post("/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}).json()[0]
        about = {"flow_runs": {"id": {"any_": [newest["id"]]}}, "limit": 200}
        artifacts = client.post("/artifacts/filter", json=about).json()
    print(f"prefect    {len(artifacts)} artifacts; the flow took {newest['total_run_time']:.2f} s")


def show_calls(log: Path) -> None:
    """What the server was asked for one release, in the mean of several, by kind; without waiting for it to be up."""
    requests = re.findall(r'"([A-Z]+|WebSocket) /api/([^/ ?]+)', log.read_text())
    kinds = Counter(f"{method} {resource}" for method, resource in requests if resource != "health")
    releases = kinds["WebSocket events"]  # one connection a process
    listed = ", ".join(f"{kind} {count / releases:.3g}" for kind, count in kinds.most_common())
    print(f"calls      {kinds.total() / releases:.3g} requests a release: {listed}")


def without_conformance(home: str) -> str:
    """The miniature's profile without the checks of the API, as a file."""
    document = load_profile("miniature").model_dump(mode="json")
    document["gates"] = [gate for gate in document["gates"] if gate["metric"] != "conformance"]
    path = Path(home) / "miniature.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def main() -> None:
    """Release again and again, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="releases of each kind")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "SLIPWAY_HOME": home}
        for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE"):
            environment.pop(name, None)
        try:
            first_s, first = release(environment)
            temporary = [release(environment) for _ in range(runs)]
            os.environ["PREFECT_SERVER_LOGGING_LEVEL"] = "INFO"  # every request is a line of its log
            server = start_prefect_server(Path(home) / "prefect")
            try:
                wait_until_up(server)
                environment["PREFECT_API_URL"] = server.url
                running = [release(environment) for _ in range(runs)]
                show_calls(Path(home) / "prefect" / "server.log")
                show_prefect(server.url)
                unchecked = [release(environment, without_conformance(home)) for _ in range(runs)]
            finally:
                server.stop()
        finally:
            stop = [SLIPWAY, "stop", "slipway-miniature"]
            subprocess.run(stop, env=environment, timeout=TIMEOUT_S, check=False, capture_output=True)
    records = [first, *(record for _, record in temporary + running)]
    show("first", [first_s])
    show("temporary", [took_s for took_s, _ in temporary])
    show("running", [took_s for took_s, _ in running])
    show("unchecked", [took_s for took_s, _ in unchecked])
    show("overhead", [record["overhead_s"] for record in records])
    show_gates(records)


if __name__ == "__main__":
    main()
