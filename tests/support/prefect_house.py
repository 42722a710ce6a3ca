"""`make prefect` for tests: a real server, worker and all deployments, in a Slipway world of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.world import APP, World, wait_until

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0
LEASE_S = 30.0  # the least there is, of 300: a run whose slot must be renewed meets that in a test's time


@dataclass(frozen=True)
class House:
    """A Prefect that runs.

    Attributes:
        world: The Slipway that its worker works in.
        url: The server's address.
    """

    world: World
    url: str

    @property
    def directory(self) -> Path:
        return self.world.home / "prefect-home"

    def env(self) -> dict[str, str]:
        return {
            **{name: value for name, value in self.world.env().items() if not name.startswith("PREFECT_")},
            "PREFECT_PORT": self.url.rpartition(":")[2],
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": f"{LEASE_S:g}",
            "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PYTHONPATH": str(ROOT),
        }

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server's API; while it is away, again."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                answer = httpx.request(method, f"{self.url}/api{path}", json=body, timeout=30)
            except httpx.HTTPError:
                answer = httpx.Response(503)
            if answer.status_code != 503:  # which is also what it says while its database is locked
                break
            assert time.monotonic() < deadline, f"{path} is not answered"
            time.sleep(0.5)
        assert answer.is_success, f"{path}: {answer.text}"
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> str:
        """Id of a deployment, by `flow/name`."""
        return str(self.call("GET", f"/deployments/name/{name}")["id"])

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run from a deployment's form; its id."""
        body = {"parameters": parameters}
        return str(self.call("POST", f"/deployments/{self.deployment(deployment)}/create_flow_run", body)["id"])

    def state(self, run: str) -> str:
        """Name of a run's state."""
        return str(self.call("GET", f"/flow_runs/{run}")["state_name"])

    def wait(self, run: str, *states: str) -> str:
        """Wait until a run is in one of the states; which."""
        deadline = time.monotonic() + DEADLINE_S
        while (state := self.state(run)) not in states:
            assert time.monotonic() < deadline, f"{run} is {state}, not {' or '.join(states)}"
            time.sleep(0.3)
        return state

    def cancel(self, run: str) -> None:
        """As `prefect flow-run cancel` does, and the button in the pages."""
        self.call("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})

    def end_runs(self) -> None:
        """Cancel all that is under way, so that no test has to do with what another left."""
        states = {"type": {"any_": ["PENDING", "RUNNING", "PAUSED", "CANCELLING"]}}
        wanted = {"flow_runs": {"state": states}}

        def are_over() -> bool:
            runs = self.call("POST", "/flow_runs/filter", wanted)
            for run in runs:
                if run["state_type"] != "CANCELLING":
                    self.cancel(run["id"])
            return not runs

        until(are_over, "the end of all runs")

    def message(self, run: str) -> str:
        """What is said about a run's state."""
        return str(self.call("GET", f"/flow_runs/{run}")["state"]["message"])

    def log(self, run: str) -> str:
        """A run's log."""
        about = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return "\n".join(line["message"] for line in self.call("POST", "/logs/filter", about))

    def fired(self, deployment: str, state: str, **parameters: Any) -> str:
        """Let a schedule start a run in a few seconds, and wait until it is in a state; its id."""
        place, at = self.deployment(deployment), datetime.now(UTC) + timedelta(seconds=8)
        hourly = {"interval": 3600.0, "anchor_date": at.isoformat()}
        schedule = {"schedule": hourly, "active": True, "parameters": parameters}
        made = self.call("POST", f"/deployments/{place}/schedules", [schedule])[0]["id"]
        due = {"after_": at.isoformat(), "before_": (at + timedelta(minutes=1)).isoformat()}
        wanted = {"state": {"name": {"any_": [state]}}, "expected_start_time": due}
        body = {"deployments": {"id": {"any_": [place]}}, "flow_runs": wanted}
        try:
            (run,) = until(lambda: self.call("POST", "/flow_runs/filter", body), f"a run by schedule that is {state}")
        finally:
            self.call("DELETE", f"/deployments/{place}/schedules/{made}")
        assert run["auto_scheduled"]
        return str(run["id"])

    def child(self, name: str) -> psutil.Process:
        """The server's process, or the worker's."""
        keeper = psutil.Process(json.loads((self.directory / "keeper.json").read_bytes())["pid"])
        return next(child for child in keeper.children() if name in child.cmdline())

    def process_of(self, run: str) -> psutil.Process:
        """The process in which a run's flow is."""
        for process in self.processes():
            with suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect" in " ".join(process.cmdline()):
                    return process
        raise AssertionError(f"no process of {run}")

    def processes(self) -> Iterator[psutil.Process]:
        """All that were started in it."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("PREFECT_HOME") == str(self.directory):
                    yield process

    def record(self, **wanted: Any) -> dict[str, Any] | None:
        """The newest record, if its fields are as wanted."""
        newest = self.world.ledger_records()[-1:]
        return next((record for record in newest if wanted.items() <= record.items()), None)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Poll the outside world until something is there; what it is."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {DEADLINE_S:g} s"
        time.sleep(0.1)
    return found


@contextmanager
def prefect_house(world: World) -> Iterator[House]:
    """Bring it up as `make prefect` does, and end it, with everything that ran in it but the app."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    house = House(world, f"http://127.0.0.1:{port}")
    program = [sys.executable, "-m", "scripts.prefect_home"]
    done = subprocess.run(
        [*program, "up"], cwd=ROOT, env=house.env(), capture_output=True, text=True, timeout=2 * DEADLINE_S, check=False
    )
    try:
        assert done.returncode == 0, done.stderr
        assert house.url in done.stdout
        yield house
    finally:
        subprocess.run([*program, "down"], cwd=ROOT, env=house.env(), timeout=DEADLINE_S, check=True)
        world.run("stop", APP)
        wait_until(lambda: not list(house.processes()), "the end of everything that was started", timeout_s=10)
