"""Jobs side by side, on the local platform: one sum, a lost one started again, all ended together."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from slipway.errors import Corrupt, JobDied, SlipwayError, Transient
from slipway.platforms.local import LocalPlatform
from slipway.platforms.port import Job, Progress
from slipway.stages import side_by_side
from slipway.stages.side_by_side import STARTS, run_side_by_side

FUNCTIONS = "tests.support.platform_jobs"
WHOLE = Progress(0, 100, "files", "counting")


def job(function: str, **arguments: Any) -> Job:
    return Job(name=function, function=f"{FUNCTIONS}:{function}", arguments=arguments)


def run(tmp_path: Path, *jobs: Job, timeout_s: float = 60.0) -> tuple[list[Any], list[Progress]]:
    told: list[Progress] = []
    return run_side_by_side(LocalPlatform(tmp_path), jobs, timeout_s=timeout_s, whole=WHOLE, progress=told.append), told


def test_results_come_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    results, _ = run(tmp_path, job("count", total=3), job("count", total=1), job("count", total=2))
    assert results == [3, 1, 2]


def test_progress_is_the_sum_and_comes_from_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "TELL_EVERY_S", 0.01)
    threads: set[int] = set()
    told: list[Progress] = []

    def tell(progress: Progress) -> None:
        threads.add(threading.get_ident())
        told.append(progress)

    gates = {name: tmp_path / name for name in ("one", "two")}
    jobs = [job("count_to_gate", total=total, gate=str(gates[name])) for name, total in (("one", 30), ("two", 12))]

    def open_gates_at_the_end(progress: Progress) -> None:
        tell(progress)
        if progress.done == 42:
            for gate in gates.values():
                gate.touch()

    platform = LocalPlatform(tmp_path)
    assert run_side_by_side(platform, jobs, timeout_s=60, whole=WHOLE, progress=open_gates_at_the_end) == [30, 12]
    assert threads == {threading.get_ident()}
    assert max(progress.done for progress in told) == 42
    assert {(progress.total, progress.unit, progress.note) for progress in told} == {(100, "files", "counting")}


def test_a_job_that_tells_much_is_not_held_up_by_the_others(tmp_path: Path) -> None:
    """A pipe holds 64 KiB: unread, a thousand lines of progress would stop the job for ever."""
    gate = tmp_path / "gate"
    first = job("count_to_gate", total=1, gate=str(gate))
    results, _ = run(tmp_path, first, job("count_and_open", total=3000, gate=str(gate)))
    assert results == [1, 3000]


def test_a_lost_job_is_started_again(tmp_path: Path) -> None:
    results, _ = run(tmp_path, job("count", total=1), job("die_once", mark=str(tmp_path / "died")))
    assert results == [1, "lived"]


def test_a_job_that_is_always_lost_ends_all(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    waiting = job("start_stubborn_child", pids=str(tmp_path / "pids"))
    with pytest.raises(JobDied):
        run(tmp_path, waiting, job("die_always", mark=str(starts)))
    assert starts.read_text().count("x") == STARTS
    assert_gone(tmp_path / "pids")


@pytest.mark.slow
@pytest.mark.parametrize(("how", "kind"), [("corrupt", Corrupt), ("deadline", Transient)])
def test_the_first_failure_is_told_and_is_not_tried_again(tmp_path: Path, how: str, kind: type[SlipwayError]) -> None:
    waiting = job("start_stubborn_child", pids=str(tmp_path / "pids"))
    other = job("fail", how="corrupt") if how == "corrupt" else job("count", total=1)
    with pytest.raises(kind) as error:
        run(tmp_path, waiting, other, timeout_s=60 if how == "corrupt" else 3)
    assert type(error.value) is kind
    assert_gone(tmp_path / "pids")


def test_who_is_interrupted_leaves_no_job(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def interrupt(_: Progress) -> None:
        if pids.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(
            LocalPlatform(tmp_path),
            [job("start_stubborn_child", pids=str(pids)), job("start_stubborn_child", pids=str(tmp_path / "other"))],
            timeout_s=60,
            whole=WHOLE,
            progress=interrupt,
        )
    assert_gone(pids)


def assert_gone(pids: Path) -> None:
    """No process of a job is left that may have come far enough to write its pids."""
    deadline_s = time.monotonic() + 20
    while left := [pid for pid in (pids.read_text().split() if pids.exists() else ()) if _runs(int(pid))]:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
