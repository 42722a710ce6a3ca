"""`make prefect` for tests: a real server, worker and all deployments, in a Slipway world of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.world import World

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0


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

    def child(self, name: str) -> psutil.Process:
        """The server's process, or the worker's."""
        keeper = psutil.Process(json.loads((self.directory / "keeper.json").read_bytes())["pid"])
        return next(child for child in keeper.children() if name in child.cmdline())

    def process_of(self, run: str) -> psutil.Process:
        """The process in which a run's flow is."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect" in " ".join(process.cmdline()):
                    return process
            except psutil.Error:
                continue
        raise AssertionError(f"no process of {run}")

    def record(self, **wanted: Any) -> dict[str, Any] | None:
        """The newest record, if its fields are as wanted."""
        newest = self.world.ledger_records()[-1]
        return newest if all(newest[name] == value for name, value in wanted.items()) else None


def until(condition: Callable[[], Any], what: str) -> Any:
    """Poll the outside world until something is there; what it is."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {DEADLINE_S:g} s"
        time.sleep(0.1)
    return found


@contextmanager
def prefect_house(world: World) -> Iterator[House]:
    """Bring it up as `make prefect` does, and end it."""
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
