"""A Prefect of your own on this machine: server with its pages, work pool, worker, and all deployments of prefect.yaml.

    python -m scripts.prefect_home up         start what does not run, deploy, print the address (`make prefect`)
    python -m scripts.prefect_home down       end it all (`make prefect-stop`)

Server and worker are children of a keeper, which starts them again when one of them ends; they end with it. The
worker's runs are in sessions of their own: they outlive a worker that is killed, and are known by the home in their
environment. What it keeps lies in `$SLIPWAY_HOME/prefect-home`: the database, logs of both, and who the keeper is. It
listens on the loopback interface, on `$PREFECT_PORT` or 4200.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

import httpx
import psutil

from flows.server import QUIET
from slipway.errors import Crashed, Misconfigured, SlipwayError
from slipway.files import write_atomic
from slipway.processes import ProcessIdentity, end, fork_guard, identify
from slipway.stages.surroundings import home

ROOT: Final = Path(__file__).parents[1]
POOL: Final = "slipway"
START_TIMEOUT_S: Final = 240.0  # the first start migrates a database: up to a minute on a busy laptop
STOP_GRACE_S: Final = 10.0
RUN_GRACE_S: Final = 30.0  # as long as Prefect gives a run that is cancelled
RESTART_PAUSE_S: Final = 2.0
POLL_S: Final = 0.2
RUN_MODULES: Final = ("prefect.engine", "prefect.runner.")
"""What a run's process is started with: its preparation, then the flow in the same process."""
PREFECT: Final = (sys.executable, "-m", "prefect", "--no-prompt")
SERVER: Final = ("server", "start", "--host", "127.0.0.1", "--port")
WORKER: Final = ("worker", "start", "--pool", POOL, "--type", "process", "--name", "here")


class Home:
    """Where it lies and how it is reached."""

    def __init__(self) -> None:
        self.directory = home() / "prefect-home"
        self.port = int(os.environ.get("PREFECT_PORT", "4200"))
        self.url = f"http://127.0.0.1:{self.port}"
        self.keeper_file = self.directory / "keeper.json"

    def environment(self) -> dict[str, str]:
        """What Prefect's programs are started with."""
        return {
            "PREFECT_SERVER_UI_V2_ENABLED": "false",  # for a new browser: it draws wide tables over what is beside them
            **os.environ,
            **QUIET,
            "PREFECT_HOME": str(self.directory),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_UI_API_URL": f"{self.url}/api",  # its pages would ask port 4200
            "SLIPWAY_HOME": str(home()),
            "PWD": str(ROOT),  # prefect.yaml writes it into the deployments
        }

    def keeper(self) -> ProcessIdentity | None:
        """Who keeps it, if somebody does."""
        try:
            found = ProcessIdentity(**json.loads(self.keeper_file.read_bytes()))
        except FileNotFoundError:
            return None
        return found if found.alive() else None

    def answers(self) -> bool:
        """Whether the server does."""
        try:
            return httpx.get(f"{self.url}/api/health", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def run(self, *arguments: str) -> str:
        """Run Prefect's command line to its end.

        Raises:
            Crashed: If it fails.
        """
        done = subprocess.run(
            [*PREFECT, *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise Crashed(
                f"`prefect {' '.join(arguments)}` ended with {done.returncode}: {said}",
                remedy="Read what it says; the logs lie in " + str(self.directory),
            )
        return done.stdout


def up(place: Home) -> None:
    """Start what does not run, and bring the deployments up to date.

    Raises:
        Misconfigured: If something else has the port.
        Crashed: If the server does not come up.
    """
    if place.keeper() is None:
        if place.answers():
            raise Misconfigured(
                f"Another Prefect server answers at {place.url}.",
                remedy="End it, or choose another port: `make prefect PREFECT_PORT=4300`.",
            )
        _start_keeper(place)
    _wait_until_up(place)
    place.run("work-pool", "create", POOL, "--type", "process", "--overwrite")
    place.run("deploy", "--all")


def _start_keeper(place: Home) -> None:
    place.directory.mkdir(parents=True, exist_ok=True)
    with (place.directory / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "scripts.prefect_home", "keep"],
            cwd=ROOT,
            env=place.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    write_atomic(place.keeper_file, json.dumps(asdict(identify(keeper.pid))).encode())


def _wait_until_up(place: Home) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not place.answers():
        if place.keeper() is None or time.monotonic() > deadline:
            raise Crashed(
                f"Prefect's server did not come up at {place.url}.",
                remedy=f"Read server.log in {place.directory}; is the port free?",
            )
        time.sleep(POLL_S)


def keep(place: Home) -> int:
    """Keep server and worker running until this process is told to end; however it ends, they end with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reading, writing = os.pipe()
    fork_guard(lifeline=reading, group=os.getpgrp(), close=[writing])
    server = worker = None
    try:
        while True:
            if server is None or server.poll() is not None:
                server = _child(place, "server", (*SERVER, str(place.port)))
            if (worker is None or worker.poll() is not None) and place.answers():
                worker = _child(place, "worker", WORKER)
            time.sleep(RESTART_PAUSE_S)
    except KeyboardInterrupt:
        return 0


def _child(place: Home, name: str, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    with (place.directory / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [*PREFECT, *arguments], cwd=ROOT, env=place.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def down(place: Home) -> bool:
    """End it all; whether there was anything. Runs go first, so that they can take back and tell what they began."""
    keeper = place.keeper()
    ended = _end_runs(place)
    if keeper is not None:
        end(keeper, grace_s=STOP_GRACE_S)
        ended += 1 + _end_runs(place)  # what the worker began meanwhile
    place.keeper_file.unlink(missing_ok=True)
    return ended > 0


def _end_runs(place: Home) -> int:
    """End the processes of runs, also those whose worker was killed; how many there were."""
    runs = [run for process in psutil.process_iter() if (run := _run_in(process, place))]
    for run in runs:
        end(run, grace_s=RUN_GRACE_S)
    return len(runs)


def _run_in(process: psutil.Process, place: Home) -> ProcessIdentity | None:
    """The process, if it leads the session of a run: what a run starts inherits its environment, and is none."""
    try:
        prefects = any(word.startswith(RUN_MODULES) for word in process.cmdline())
        ours = prefects and process.environ().get("PREFECT_HOME") == str(place.directory)
        return identify(process.pid) if ours else None
    except psutil.Error:
        return None


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["up", "down", "keep"])
    what, place = parser.parse_args().what, Home()
    try:
        if what == "keep":
            return keep(place)
        if what == "down":
            print("ended" if down(place) else "nothing ran")
            return 0
        up(place)
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"Prefect: {place.url} (logs in {place.directory})\nexport PREFECT_API_URL={place.url}/api")
    return 0


if __name__ == "__main__":
    sys.exit(main())
