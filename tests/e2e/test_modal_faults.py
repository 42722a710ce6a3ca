"""Modal fails at any call, and the orchestrator dies at any: users keep a release, the next run just works.

The platform's calls of a release are made by `tests.support.modal_plane.redeploy`, in a process of its own. Which
calls these are is recorded from a release that goes well; a fault is then tried at one of them after the other.
By default `SLIPWAY_FAULT_CELLS=2` of all combinations, chosen by `SLIPWAY_FAULT_SEED=0`; `all` tries each error at
the first and the last time of each call, which takes hours.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.conftest import APP, KEY_NAME
from tests.support.modal_plane import Plane, modal_plane, why_not_here
from tests.support.modal_plane.containers import REPO
from tests.support.modal_plane.redeploy import WORK

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not_here()), reason=why_not_here())]
LONG_S = 120.0
KEY = "key-of-the-fault-tests"
CELLS = os.environ.get("SLIPWAY_FAULT_CELLS", "2")
SEED = int(os.environ.get("SLIPWAY_FAULT_SEED", "0"))
EXHAUSTED = 4
"""The client repeats some calls three times: so many faults in a row are the least that reaches Slipway."""

KINDS = (
    "unavailable", "internal", "conflict", "exhausted", "auth", "denied", "not_found", "exists", "invalid",
    "unimplemented", "data_loss", "drop",
)  # fmt: skip
PASSING = {"unavailable", "internal", "conflict", "exhausted", "drop"}
STOPPING = {"AppGetOrCreate", "AppStop"}
"""Who may not make these calls cannot stop a candidate: the next run does. What passes is tried again."""

BACKGROUND = {"AppHeartbeat", "ClientHello"}
"""Calls that nobody waits for."""


@dataclass
class Cell:
    """One fault: the n-th time of a call, and what happens there."""

    rpc: str
    kind: str
    after: int

    def __str__(self) -> str:
        return f"{self.kind} at {self.rpc}, time {self.after + 1}"


@dataclass
class Orchestra:
    """A plane with an app that serves, and the means to release to it.

    Attributes:
        calls: How often a release makes each call.
        users: The release that users reach.
    """

    plane: Plane
    root: Path
    calls: Counter[str] = field(default_factory=Counter)
    users: str = ""
    count: int = 0

    def next_release(self) -> str:
        self.count += 1
        return f"r{self.count}"

    def command(self, release: str) -> dict[str, Any]:
        arguments = [sys.executable, "-m", "tests.support.modal_plane.redeploy", str(self.root), str(self.root)]
        env = {**os.environ, **self.plane.env, KEY_NAME: KEY}
        return {"args": [*arguments, release], "env": env, "cwd": REPO, "text": True}

    def redeploy(self, release: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(**self.command(release), capture_output=True, timeout=LONG_S, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done

    def answers(self) -> str:
        """The release that answers users."""
        url = next(iter(self.urls()), "")
        answer = httpx.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=LONG_S)
        return str(answer.raise_for_status().json()["name"])

    def urls(self) -> list[str]:
        book = json.loads(self.plane.file("slipway-releases", f"apps/{APP}.json") or b"{}")
        return [release["url"] for release in book["history"] if release["url"]]

    def candidates(self) -> list[str]:
        """Apps of candidates that are deployed still."""
        deployed = 3  # APP_STATE_DEPLOYED
        return [a["name"] for a in self.plane.apps() if a["name"].startswith(f"{APP}-c-") and a["state"] == deployed]

    def work_done(self, release: str) -> int:
        return len((self.plane.file(WORK, release) or b"").splitlines())

    def hang_in_the_job(self) -> None:
        """Let the next job's commit hang. Containers that leave commit, too: servers other volumes, jobs this one."""
        wait_until(lambda: not self.plane.containers("contract-jobs"))
        self.plane.faults.add("VolumeCommit", "hang", by="container", matching=self.volume_id(WORK))

    def volume_id(self, name: str) -> str:
        """Modal's id of a volume that a job has."""
        mounts = (
            zip(job.volumes, job.proto.volume_mounts, strict=True)
            for job in self.plane.definitions("contract-jobs").values()
        )
        return next(mount.volume_id for named, mount in chain.from_iterable(mounts) if named["name"] == name)

    def until_struck(self, process: subprocess.Popen[str]) -> None:
        """Until the fault has struck the run."""
        wait_until(lambda: self.plane.faults.listed()[0]["struck"] or process.poll() is not None)
        assert process.poll() is None, process.communicate()

    def must_be_whole(self, release: str) -> None:
        """Users reach the release, and nothing but it runs."""
        assert self.answers() == release
        assert self.candidates() == []
        wait_until(lambda: {c.app for c in self.plane.containers()} <= {APP, "contract-jobs"})
        assert self.plane.errors() == []
        self.users = release


def wait_until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LONG_S
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def orchestra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    directory = tmp_path_factory.mktemp("plane")
    with modal_plane(directory) as plane, tempfile.TemporaryDirectory() as root:
        orchestra = Orchestra(plane, Path(root))
        for release in (orchestra.next_release(), orchestra.next_release()):
            seen = len(plane.calls())
            assert orchestra.redeploy(release).returncode == 0
            orchestra.must_be_whole(release)
        by_clients = [rpc for _, rpc, by_container, _ in plane.calls()[seen:] if not by_container]
        orchestra.calls = Counter(rpc for rpc in by_clients if rpc not in BACKGROUND)
        yield orchestra


@pytest.fixture(autouse=True)
def no_fault_is_left(orchestra: Orchestra) -> Iterator[None]:
    yield
    orchestra.plane.faults.clear()


def chosen(orchestra: Orchestra) -> list[Cell]:
    every = [Cell(rpc, kind, 0) for rpc in sorted(orchestra.calls) for kind in KINDS]
    if CELLS == "all":
        last = [Cell(c.rpc, c.kind, orchestra.calls[c.rpc] - 1) for c in every if orchestra.calls[c.rpc] > 1]
        return [*every, *last]
    choice = random.Random(SEED)
    cells = choice.sample(every, int(CELLS))
    return [Cell(cell.rpc, cell.kind, choice.randrange(orchestra.calls[cell.rpc])) for cell in cells]


@pytest.mark.timeout(0 if CELLS == "all" else 900)
def test_an_error_at_any_call_leaves_users_a_release_and_the_next_run_works(
    orchestra: Orchestra, subtests: pytest.Subtests
) -> None:
    for cell in chosen(orchestra):
        with subtests.test(str(cell)):
            survives(orchestra, cell)


def survives(orchestra: Orchestra, cell: Cell) -> None:
    """A release meets the fault, and the next run makes it good."""
    before, release = orchestra.answers(), orchestra.next_release()
    orchestra.plane.faults.add(cell.rpc, cell.kind, count=EXHAUSTED, after=cell.after, by="client")
    first = orchestra.redeploy(release)
    orchestra.plane.faults.clear()

    steps = [json.loads(line) for line in first.stdout.splitlines()]
    reached = [step["step"] for step in steps]
    assert orchestra.answers() in ({before, release} if "judged" in reached else {before})
    assert first.returncode == 0 or steps[-1]["remedy"]
    if cell.rpc not in STOPPING or cell.kind in PASSING:
        assert orchestra.candidates() == []
    done = orchestra.work_done(release)
    if first.returncode != 0:
        again = orchestra.redeploy(release)
        assert again.returncode == 0, again.stdout
    if "worked" in reached:
        assert orchestra.work_done(release) == done == 1
    orchestra.must_be_whole(release)


@pytest.mark.timeout(300)
def test_a_switch_that_cannot_be_written_down_is_taken_back(orchestra: Orchestra) -> None:
    last = orchestra.calls["VolumePutFiles"] - 1
    survives(orchestra, Cell("VolumePutFiles", "internal", last))
    history = json.loads(orchestra.plane.file("slipway-releases", f"apps/{APP}.json") or b"{}")["history"]
    assert [release["version"] for release in history] == list(range(1, len(history) + 1))


KILLS = [("AppPublish", 0), ("AppPublish", 1), ("VolumePutFiles", -1)]
"""While the candidate is deployed, users are switched, the switch is written down."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("rpc", "time_of_it"), KILLS)
def test_killed_at_a_call_it_leaves_users_a_release_and_the_next_run_works(
    orchestra: Orchestra, rpc: str, time_of_it: int
) -> None:
    before, release = orchestra.users, orchestra.next_release()
    after = time_of_it % orchestra.calls[rpc]
    orchestra.plane.faults.add(rpc, "hang", after=after, by="client")
    with subprocess.Popen(**orchestra.command(release), stdout=subprocess.PIPE) as process:
        orchestra.until_struck(process)
        process.kill()
        told, _ = process.communicate()
    orchestra.plane.faults.clear()

    assert orchestra.answers() in ({before, release} if "judged" in told else {before})
    again = orchestra.redeploy(release)
    assert again.returncode == 0, again.stdout
    assert orchestra.work_done(release) == 1
    orchestra.must_be_whole(release)


@pytest.mark.timeout(600)
def test_a_job_that_outlives_the_run_that_started_it_is_picked_up_by_the_next(orchestra: Orchestra) -> None:
    release = orchestra.next_release()
    orchestra.hang_in_the_job()
    with subprocess.Popen(**orchestra.command(release), stdout=subprocess.PIPE) as process:
        orchestra.until_struck(process)
        process.kill()
    starts = len(orchestra.plane.calls("FunctionMap"))
    with subprocess.Popen(**orchestra.command(release), stdout=subprocess.PIPE) as process:
        polls = len(orchestra.plane.calls("FunctionGetOutputs"))
        wait_until(lambda: len(orchestra.plane.calls("FunctionGetOutputs")) > polls + 2)
        orchestra.plane.faults.clear()
        told, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 0, told
    assert len(orchestra.plane.calls("FunctionMap")) == starts
    assert orchestra.work_done(release) == 1
    orchestra.must_be_whole(release)


def test_an_image_that_does_not_build_is_told_with_its_log(orchestra: Orchestra) -> None:
    before, release = orchestra.users, orchestra.next_release()
    orchestra.plane.faults.fail_image_build("step 7\nerror: no space left on device\n")
    done = orchestra.redeploy(release)
    failed = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, failed["kind"]) == (1, "Misconfigured")
    assert "no space left on device" in failed["message"]
    assert orchestra.answers() == before
    assert orchestra.candidates() == []


@pytest.mark.parametrize("fate", ["crashed", "lost", "preempted"])
def test_a_job_whose_container_goes_ends_soon_and_the_next_run_does_its_work(orchestra: Orchestra, fate: str) -> None:
    release = orchestra.next_release()
    orchestra.hang_in_the_job()
    with subprocess.Popen(**orchestra.command(release), stdout=subprocess.PIPE) as process:
        orchestra.until_struck(process)
        working = next(c for c in orchestra.plane.containers("contract-jobs") if c.calls)
        orchestra.plane.end(working.task_id, fate)
        told, _ = process.communicate(timeout=LONG_S)
    if fate == "preempted":
        assert process.returncode == 0, "Modal runs it again by itself"
    else:
        assert json.loads(told.splitlines()[-1])["kind"] == "JobDied"
        assert orchestra.redeploy(release).returncode == 0
    # An interrupted container commits what it has when it leaves, and the input is run again.
    assert orchestra.work_done(release) in ({1, 2} if fate == "preempted" else {1})
    orchestra.must_be_whole(release)
