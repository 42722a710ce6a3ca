"""A Slipway of its own for end-to-end tests: a home directory, a profile, and the real command line in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from slipway.miniature import hub
from slipway.profile.load import profile_directory
from slipway.stages.surroundings import CHECKPOINT_DIR

APP = "e2e"
API_KEY = "key-that-must-never-be-seen-4f1b9c"
DEADLINE_S = 240.0
LIMITS: dict[str, dict[str, float]] = {
    "error_rate": {"at_most": 0.15},  # what 24 requests without an error can show
    "tool_calls": {"at_least": 0.8},
    # What a fault does here is no matter of latency, and these tests run beside others.
    "ttft_s": {"at_most": 10.0},
    "tpot_s": {"at_most": 1.0},
}
SLIPWAY = Path(sys.executable).with_name("slipway")


@dataclass
class World:
    """One home directory of Slipway and all that was printed in it."""

    root: Path
    printed: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def local(self) -> Path:
        return self.home / "local"

    def env(self) -> dict[str, str]:
        return {**os.environ, "SLIPWAY_HOME": str(self.home), "SLIPWAY_MINIATURE_API_KEY": API_KEY}

    def profile(self, **changes: Any) -> Path:
        """The miniature with fewer requests, without checks of the API; `engine__kv_cache_dtype=…` changes a field."""
        document = yaml.safe_load((profile_directory() / "miniature.yaml").read_text())
        document |= {"name": "e2e", "app": APP}
        document["workloads"]["chat"]["requests"] = 24
        document["workloads"]["arithmetic"]["requests"] = 60
        document["workloads"]["tools"]["requests"] = 40
        document["gates"] = [gate for gate in document["gates"] if gate["metric"] != "conformance"]
        for gate in document["gates"]:
            gate.update(LIMITS.get(gate["metric"], {}))
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = document
            for name in parents:
                place = place[name]
            place[last] = value
        file = self.root / f"profile-{len(list(self.root.glob('profile-*')))}.yaml"
        file.write_text(yaml.safe_dump(document))
        return file

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `slipway` to its end."""
        done = subprocess.run(
            [SLIPWAY, *map(str, arguments)],
            env=self.env(),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        self.printed += [done.stdout, done.stderr]
        return done

    def redeploy(self, profile: Path, *options: str) -> dict[str, Any]:
        """Release a profile; the record, with the command's `returncode` beside it."""
        done = self.run("redeploy", profile, "--json", *options)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        return {**lines[-1], "returncode": done.returncode}

    @contextmanager
    def started(self, profile: Path) -> Iterator[Redeploy]:
        """A release under way, killed with all its children's parents at the end if it still runs."""
        with subprocess.Popen(
            [SLIPWAY, "redeploy", str(profile), "--json"],
            env=self.env(),
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield Redeploy(process, self)
            finally:
                process.kill()

    def live_release(self) -> str | None:
        """Which release answers at the address users have, by a real completion; None if none answers."""
        port = json.loads((self.local / "apps" / f"{APP}.port").read_text())
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                headers={"Authorization": f"Bearer {API_KEY}"},
                json={"model": "any", "messages": [{"role": "user", "content": "What is 2 + 2?"}], "max_tokens": 4},
                timeout=30,
            )
        except httpx.HTTPError:
            return None
        return str(answer.json()["metadata"]["weight_version"]) if answer.is_success else None

    def records(self) -> list[dict[str, Any]]:
        """All records, newest first."""
        return list(json.loads(self.run("runs", "--json").stdout))

    def ledger_records(self) -> list[dict[str, Any]]:
        """All records as they lie in the ledger, oldest first; without a process of its own for each look."""
        files = (self.local / "volumes" / "slipway-ledger" / "current").glob("records/*.json")
        return [json.loads(file.read_bytes()) for file in sorted(files, key=lambda file: file.name)]

    def servers(self) -> dict[str, psutil.Process]:
        """Supervisors that run, by release."""
        found = {}
        for file in self.local.glob("servers/*/process.json"):
            try:
                process = psutil.Process(json.loads(file.read_text())["pid"])
            except psutil.NoSuchProcess:
                continue
            if process.status() != psutil.STATUS_ZOMBIE:
                spec = json.loads(file.with_name("server.json").read_text())["spec"]
                found[str(spec["release_id"])] = process
        return found


@dataclass
class Redeploy:
    """A `slipway redeploy --json` that runs."""

    process: subprocess.Popen[str]
    world: World

    def wait_for_stage(self, stage: str) -> str:
        """Read events until a stage has started; its release id."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.world.printed.append(line)
            event = json.loads(line)
            if event.get("stage") == stage and event["event"] == "started":
                return str(event["release_id"])
        raise AssertionError(f"the run ended before stage {stage!r}")

    def kill(self) -> None:
        """End it as the kernel would: no handler, no `finally`."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def cancel(self) -> dict[str, Any]:
        """End it as Ctrl-C does; the record, once it has cleared up, with the exit code beside it."""
        self.process.send_signal(signal.SIGINT)
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Read to the end; the record, with the exit code beside it."""
        assert self.process.stdout is not None
        lines = self.process.stdout.read().splitlines()
        self.world.printed += lines
        return {**json.loads(lines[-1]), "returncode": self.process.wait(DEADLINE_S)}

    def jobs(self) -> list[psutil.Process]:
        """Its job processes."""
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if any("slipway.platforms.local.worker" in word for word in child.cmdline())
        ]


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Poll a condition of the outside world until it holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s:g} s"
        time.sleep(0.02)


@contextmanager
def published(directory: Path, change: Callable[[Path], None]) -> Iterator[dict[str, str]]:
    """Publish a changed checkpoint on a Hub of its own; the profile's fields that name it."""
    shutil.copytree(CHECKPOINT_DIR, directory)
    change(directory)
    with hub.serve(directory, repo="slipway/glm-5.1-miniature") as address:
        yield {"model__hub": address.url, "model__revision": address.commit}
