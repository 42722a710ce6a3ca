"""Jobs: calls of functions that are deployed, spawned and polled, so that they survive whoever started them.

The id of a call is written down under the work that it does. Who starts the same work again, after the first
process was lost, is given the call that still runs; one that has ended is not believed but started anew.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import secrets as random
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

import modal

from slipway.errors import JobDied, Transient
from slipway.platforms.modal import handles
from slipway.platforms.modal.errors import translated
from slipway.platforms.modal.job_container import progress_key
from slipway.platforms.outcomes import result_of
from slipway.platforms.port import Job, Lifetime, Progress, ProgressSink
from slipway.units import utc_now

POLL_S: Final = 0.5
"""How long one question for the result waits for it; progress is read in between."""

OUTAGE_S: Final = 300.0
"""So long Modal may fail to answer while a job runs there; the job itself does not mind."""

LOG_LINES: Final = 1000


def start_job(job: Job, function: modal.Function[..., str, Any]) -> ModalJob:
    """Spawn a job, or find the one under way that does the same work.

    Args:
        job: What to run.
        function: The function of its place.
    """
    key = f"call/{hashlib.sha256(job.work.encode()).hexdigest()[:32]}" if job.work else ""
    if key and (running := _running(job, key)):
        return running
    job_id = f"{job.name}-{random.token_hex(8)}"
    began_at = utc_now()
    with translated(f"starting job {job.name}"):
        call = function.spawn(json.dumps({"job": _as_json(job), "job_id": job_id}))
    if key:
        with translated(f"writing down job {job.name}"):
            handles.state().put(key, {"call_id": call.object_id, "job_id": job_id, "began_at": began_at.isoformat()})
    return ModalJob(job.name, job_id, call, key, began_at)


def _as_json(job: Job) -> dict[str, Any]:
    """What the container needs to know."""
    document = asdict(job)
    return {name: document[name] for name in ("function", "arguments", "mounts", "env", "secrets")}


def _running(job: Job, key: str) -> ModalJob | None:
    """The call that does this work, if it has not ended.

    Raises:
        Transient: If Modal does not say whether it has.
    """
    with translated(f"looking for job {job.name}"):
        noted = handles.state().get(key)
        if noted is None:
            return None
        call: Any = modal.FunctionCall.from_id(noted["call_id"])
    found = ModalJob(job.name, noted["job_id"], call, key, datetime.fromisoformat(noted["began_at"]))
    return None if found.ended() else found


class ModalJob:
    """The port's `JobHandle` for a call."""

    def __init__(self, name: str, job_id: str, call: Any, key: str, began_at: datetime) -> None:
        self._name = name
        self._job_id = job_id
        self._call = call
        self._key = key
        self._seen = 0
        self._lines: Sequence[str] = ()
        self._lifetime = Lifetime(began_at)
        self._cancelled = threading.Event()

    def wait(self, *, timeout_s: float, progress: ProgressSink) -> Any:
        """Block until the job's result is there; errors as the port says."""
        try:
            told = self._follow(time.monotonic() + timeout_s, progress)
        except TimeoutError:
            self.cancel()
            raise Transient(
                f"Job {self._name} was ended: it did not finish within {timeout_s:.0f} s.",
                remedy="Run again, finished work is kept; if it repeats, read its log and raise the limit.",
            ) from None
        except BaseException:
            self.cancel()
            raise
        self._close()
        self._lines = told["lines"]
        return result_of(told, self._died)

    def cancel(self) -> None:
        """End the job and all its children. Harmless when it has ended."""
        self._cancelled.set()
        with translated(f"cancelling job {self._name}"):
            self._call.cancel(terminate_containers=True)
        self._close()

    def ended(self) -> bool:
        """Whether it is over, however it ended.

        Raises:
            Transient: If Modal does not say.
        """
        try:
            return self._poll(0.0) is not None
        except JobDied:
            return True
        except Transient:
            raise
        except Exception:  # noqa: BLE001  # an error of the function, or a call that Modal has forgotten
            return True

    def logs(self) -> str:
        """What the job printed so far."""
        with translated(f"reading the log of job {self._name}"):
            return "".join(entry.message for entry in self._call.logs.tail(LOG_LINES))

    def lifetimes(self) -> Sequence[Lifetime]:
        """The one container that the job has."""
        return [self._lifetime]

    def _close(self) -> None:
        """The work is done or given up: the next start of it begins anew."""
        if self._lifetime.ended_at is None:
            self._lifetime = replace(self._lifetime, ended_at=utc_now())
        for key in filter(None, (self._key, progress_key(self._job_id))):
            with translated(f"closing job {self._name}"):
                handles.state().pop(key, None)

    def _follow(self, deadline: float, progress: ProgressSink) -> dict[str, Any]:
        """Hand on progress until the outcome is there, through outages of the network.

        Raises:
            TimeoutError: At the deadline.
        """
        answered_s = time.monotonic()
        while True:
            try:
                text = self._poll(min(POLL_S, max(0.0, deadline - time.monotonic())))
                self._hand_on(progress)
            except JobDied:
                raise
            except Transient:
                if time.monotonic() - answered_s > OUTAGE_S:
                    raise
                time.sleep(POLL_S)
                continue
            answered_s = time.monotonic()
            if text is not None:
                return dict(json.loads(text))
            if answered_s > deadline:
                raise TimeoutError

    def _poll(self, timeout_s: float) -> str | None:
        """The outcome, or None while there is none.

        Raises:
            JobDied: When the container ended without one.
        """
        try:
            with translated(f"waiting for job {self._name}"):
                return str(self._get(timeout_s))
        except _Unfinished:
            if self._cancelled.is_set():
                raise self._died("was cancelled, and ended without a result") from None
            return None

    def _get(self, timeout_s: float) -> Any:
        """The call's result; what is particular to calls is told apart from Modal's other errors here."""
        try:
            return self._call.get(timeout=timeout_s)
        except builtins.TimeoutError:
            raise _Unfinished from None
        except modal.exception.FunctionTimeoutError as error:
            raise self._died(f"was ended by Modal: {error}") from None
        except modal.exception.OutputExpiredError:
            raise self._died("has a result that Modal no longer keeps") from None
        except (modal.exception.RemoteError, modal.exception.ExecutionError, modal.exception.InternalFailure) as error:
            raise self._died(f"ended without a result ({type(error).__name__}: {error})") from None
        except Exception as error:
            if self._cancelled.is_set():
                raise self._died("was cancelled, and ended without a result") from error
            raise

    def _hand_on(self, progress: ProgressSink) -> None:
        """Pass on the reports that came since the last look."""
        with translated(f"reading the progress of job {self._name}"):
            told = handles.state().get(progress_key(self._job_id))
        if told is None or told["count"] <= self._seen:
            return
        recent = told["recent"][self._seen - told["count"] :]
        self._seen = told["count"]
        for report in recent:
            progress(Progress(**report))

    def _died(self, how: str) -> JobDied:
        return JobDied("\n".join([f"Job {self._name} {how}.", *self._lines]), remedy="Read its log and run again.")


class _Unfinished(Exception):
    """The call has no result yet."""
