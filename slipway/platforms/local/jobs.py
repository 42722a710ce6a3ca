"""Jobs: functions run to completion in processes of their own, which never outlive the one that started them.

    jobs/<id>/job.json        what to run; locked while the job lives
    jobs/<id>/outcome.json    its result or error, written last
    jobs/<id>/log.txt         what it printed, secrets removed

The last directories are kept for reading.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, Final, cast

from slipway.errors import JobDied, Transient
from slipway.files import try_lock, write_atomic
from slipway.platforms.local.environment import host_environment
from slipway.platforms.local.generations import remove_unheld
from slipway.platforms.naming import new_id
from slipway.platforms.outcomes import result_of
from slipway.platforms.port import Job, Lifetime, Progress, ProgressSink
from slipway.processes import end, identify
from slipway.redact import redact_text
from slipway.units import utc_now

KEPT_JOBS: Final = 50
CANCEL_GRACE_S: Final = 5.0
_POLL_S: Final = 0.02
_CHUNK_BYTES: Final = 1 << 16
_LOG_TIMEOUT_S: Final = 5.0
_TOLD_LINES: Final = 15


def start_job(root: Path, job: Job, secrets: Mapping[str, str]) -> LocalJob:
    """Start a job.

    Args:
        root: The platform's directory.
        job: What to run.
        secrets: Name to value, for the job's environment only.
    """
    jobs = root / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    _prune(jobs)
    directory = jobs / new_id(job.name)
    directory.mkdir()
    document = asdict(job) | {"root": str(root.resolve()), "import_path": _import_path()}
    write_atomic(directory / "job.json", json.dumps(document).encode())
    return LocalJob(job.name, directory, secrets)


class LocalJob:
    """The port's `JobHandle` for a worker process."""

    def __init__(self, name: str, directory: Path, secrets: Mapping[str, str]) -> None:
        self._name = name
        self._directory = directory
        self._secrets = tuple(secrets.values())
        self._ending = threading.Lock()
        self._progress, progress = os.pipe()
        os.set_blocking(self._progress, False)
        weakref.finalize(self, os.close, self._progress)
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try_lock(held)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "slipway.platforms.local.worker", str(directory), str(progress)],
                stdin=subprocess.PIPE,  # the lifeline: nothing is written, its end says that we are gone
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**host_environment(), **secrets},
                pass_fds=(progress, held),
                start_new_session=True,
            )
        finally:
            os.close(progress)
            os.close(held)
        self._lifetime = Lifetime(utc_now())
        self._identity = identify(self._process.pid)
        self._logger = threading.Thread(target=self._keep_log, daemon=True)
        self._logger.start()

    def wait(self, *, timeout_s: float, progress: ProgressSink) -> Any:
        """Block until the job's result is there; errors as the port says."""
        try:
            self._follow(time.monotonic() + timeout_s, progress)
        except TimeoutError:
            self.cancel()
            raise Transient(
                f"Job {self._name} was ended: it did not finish within {timeout_s:.0f} s.",
                remedy=f"Run again, finished work is kept; if it repeats, read {self._log} and raise the limit.",
            ) from None
        except BaseException:
            self.cancel()
            raise
        self._clean_up()
        return self._result()

    def cancel(self) -> None:
        """End the job and all its children. Harmless when it has ended."""
        end(self._identity, grace_s=CANCEL_GRACE_S)
        self._clean_up()

    def logs(self) -> str:
        """What the job printed so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def lifetimes(self) -> Sequence[Lifetime]:
        """The one process that the job has."""
        return [self._lifetime]

    @property
    def _log(self) -> Path:
        return self._directory / "log.txt"

    def _follow(self, deadline: float, progress: ProgressSink) -> None:
        """Hand on progress until the process has ended.

        Raises:
            TimeoutError: At the deadline.
        """
        unfinished = b""
        while self._process.returncode is None:
            alive = self._identity.alive()
            while chunk := _read_now(self._progress):
                *lines, unfinished = (unfinished + chunk).split(b"\n")
                for line in lines:
                    progress(Progress(**json.loads(line)))
            if not alive:
                return
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_POLL_S)

    def _clean_up(self) -> None:
        """Leave no process and no zombie of the job, whose process has ended; one thread does it.

        The closed lifeline makes the job's guard kill what is left of its group; the log ends when they and
        the guard are gone. Only then is the process reaped: until then its pid names no other group.
        """
        with self._ending:
            if self._process.returncode is None:
                cast("IO[bytes]", self._process.stdin).close()
                self._logger.join(_LOG_TIMEOUT_S)
                self._process.wait(timeout=CANCEL_GRACE_S)
                self._lifetime = replace(self._lifetime, ended_at=utc_now())

    def _result(self) -> Any:
        try:
            told = json.loads((self._directory / "outcome.json").read_bytes())
        except FileNotFoundError:
            raise self._died(f"ended without a result (exit status {self._process.returncode})") from None
        return result_of(told, self._died)

    def _died(self, how: str) -> JobDied:
        last = deque(self.logs().splitlines(), maxlen=_TOLD_LINES)
        return JobDied("\n".join([f"Job {self._name} {how}.", *last]), remedy=f"Read {self._log} and run again.")

    def _keep_log(self) -> None:
        with cast("IO[bytes]", self._process.stdout) as printed, self._log.open("w", buffering=1) as log:
            for line in printed:
                log.write(redact_text(line.decode(errors="replace"), self._secrets))


def _read_now(descriptor: int) -> bytes:
    """What is in the pipe; nothing if there is nothing."""
    try:
        return os.read(descriptor, _CHUNK_BYTES)
    except BlockingIOError:
        return b""


def _import_path() -> list[str]:
    """What can be imported here can be imported in the job."""
    return [str(Path(entry).resolve()) for entry in sys.path]


def _prune(jobs: Path) -> None:
    """Keep the last directories, and those of jobs that live."""
    for old in sorted(jobs.iterdir())[:-KEPT_JOBS]:
        remove_unheld(old)
