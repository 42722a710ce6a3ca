"""Several jobs as one: started together, told of as one sum, started again when one is lost, ended together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from slipway.errors import JobDied
from slipway.platforms.port import Job, Platform, Progress, ProgressSink

STARTS: Final = 3
"""How often one job is started: a container may be lost to the platform, but not for ever."""

TELL_EVERY_S: Final = 0.5


def run_side_by_side(
    platform: Platform, jobs: Sequence[Job], *, timeout_s: float, whole: Progress, progress: ProgressSink
) -> list[Any]:
    """Run jobs at the same time; one that dies without a result is started again, and goes on where it can.

    Args:
        platform: Where.
        jobs: What to run. Each tells how far it is in the same unit.
        timeout_s: How long all of it may take.
        whole: All that is to be done.
        progress: Told of all jobs together, from the calling thread.

    Returns:
        Their results, in the order of `jobs`.

    Raises:
        SlipwayError: As the first that fails; the others are ended.
    """
    deadline_s = time.monotonic() + timeout_s
    with ThreadPoolExecutor(len(jobs), thread_name_prefix="job") as pool, ExitStack() as ending:
        runs = []
        for job in jobs:
            runs.append(_Run(platform, job))
            ending.callback(runs[-1].end)
        waiting = [pool.submit(run.result, deadline_s) for run in runs]
        while not (ended := _ended(waiting)):
            progress(replace(whole, done=sum(run.done for run in runs)))
        return [future.result() for future in ended]


def _ended(waiting: Sequence[Future[Any]]) -> Sequence[Future[Any]]:
    """The one that failed, or all if all are done; nothing yet after a while."""
    done, left = wait(waiting, timeout=TELL_EVERY_S, return_when=FIRST_EXCEPTION)
    failed = [future for future in done if future.exception()]
    return failed[:1] or ([] if left else waiting)


class _Run:
    """One job, in as many starts as it takes."""

    def __init__(self, platform: Platform, job: Job) -> None:
        self.done = 0.0
        self._platform = platform
        self._job = job
        self._lock = threading.Lock()
        self._over = False
        self._handle = platform.start_job(job)

    def result(self, deadline_s: float) -> Any:
        """Block until its result is there."""
        for _ in range(STARTS - 1):
            try:
                return self._wait(deadline_s)
            except JobDied:
                if not self._started_again():
                    raise
        return self._wait(deadline_s)

    def end(self) -> None:
        """End it, for good; harmless when it has ended."""
        with self._lock:
            self._over = True
            self._handle.cancel()

    def _wait(self, deadline_s: float) -> Any:
        return self._handle.wait(timeout_s=max(deadline_s - time.monotonic(), 0.0), progress=self._note)

    def _note(self, progress: Progress) -> None:
        self.done = progress.done

    def _started_again(self) -> bool:
        with self._lock:
            if not self._over:
                self._handle = self._platform.start_job(self._job)
            return not self._over
