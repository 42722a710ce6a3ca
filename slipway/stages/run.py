"""One run of a release: its surroundings, and the record that is written as it goes.

The record is saved at the start and end of every stage, so that a process killed anywhere leaves what it
saw. The next run of the app, which can only begin when this one is gone, closes the record.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from slipway.endpoint import Endpoint
from slipway.errors import Crashed, Rejected, SlipwayError, Transient
from slipway.kernels.key import KernelKey
from slipway.platforms.port import Deployment, Job, Lifetime, Platform, Progress, ProgressSink, Release, ServerSpec
from slipway.preflight.plan import Plan
from slipway.profile import Profile
from slipway.records.events import EventKind, StageEvent, publish
from slipway.records.ledger import Ledger, log_path
from slipway.records.origin import slipway_version
from slipway.records.record import Outcome, ReleaseRecord, StageRecord, StageStatus
from slipway.stages.budget import Purse
from slipway.stages.cost import charge, told
from slipway.stages.exclusive import holding
from slipway.stages.names import Stage
from slipway.stages.surroundings import hub_endpoint, open_platform
from slipway.units import utc_now
from slipway.weights.manifest import Manifest

PROGRESS_EVERY_S = 0.1
LOG_LINES = 5000
"""Of a candidate that are kept; SGLang prints some hundreds until it serves, and one for each batch."""


class Run:
    """What the stages of one run share.

    Attributes:
        profile: What is released.
        platform: Where.
        ledger: Where records go.
        record: This run's record.
        hub: Base URL of the Hub.
        purse: Its budget, and what was taken of it.
        manifest: The weights, once planned.
        kernel_key: The kernel cache's key, once planned.
    """

    manifest: Manifest
    kernel_key: KernelKey

    def __init__(self, profile: Profile, platform: Platform, hub: str) -> None:
        self.profile = profile
        self.platform = platform
        self.hub = hub
        self.ledger = Ledger(platform)
        self.record = ReleaseRecord(
            release_id=new_release_id(profile.app),
            slipway_version=slipway_version(),
            app=profile.app,
            started_at=utc_now(),
            profile=profile.model_dump(mode="json"),
        )
        self.purse = Purse(profile, self.record)
        self._stage: Stage | None = None

    @property
    def release_id(self) -> str:
        """Id of the run and of the release it makes."""
        return self.record.release_id

    @property
    def plan(self) -> Plan:
        """What the run means to do."""
        if self.record.plan is None:
            raise RuntimeError("the plan stage has not run")
        return self.record.plan

    def endpoint(self, deployment: Deployment) -> Endpoint:
        """A deployment as a client sees it."""
        return self.endpoint_at(deployment.url)

    def endpoint_at(self, url: str) -> Endpoint:
        """This release at an address."""
        key = self.platform.secret(self.profile.api_key_secret)
        return Endpoint(url, self.profile.model.served_name, key, self.release_id)

    def run_on_gpus(self, job: Job, progress: ProgressSink) -> Any:
        """Run a job that holds the GPUs of a replica to its end; it is ended when time or money are."""
        timeout_s = self.remaining_s()
        handle, name = self.platform.start_job(job), f"{job.name} {secrets.token_hex(4)}"
        self.purse.meter.begin(name, handle.lifetimes)
        try:
            return handle.wait(timeout_s=timeout_s, progress=progress)
        finally:
            self.purse.meter.end(name)

    def deploy(self, spec: ServerSpec) -> Deployment:
        """Start a candidate, whose GPUs are paid for from now on; returns at once."""
        candidate = self.platform.deploy(self.profile.app, spec)
        self._pay_for(candidate)
        return candidate

    def promote(self, candidate: Deployment) -> Release:
        """Let users reach the candidate, or its like where a platform deploys anew for that."""
        self.keep_log(candidate)  # while it is there: some platforms deploy it anew for its users
        release = self.platform.promote(candidate)
        self._pay_for(deployment_of(release))
        return release

    def stop(self, candidate: Deployment) -> None:
        """End a candidate; its log is kept."""
        self.platform.stop(candidate)
        self.purse.meter.end(candidate.deployment_id)
        self.keep_log(candidate)

    def keep_log(self, candidate: Deployment) -> None:
        """Keep how the candidate was built and what it printed; without it the release is none the worse."""
        with suppress(SlipwayError):
            told = self.platform.deploy_log(candidate, lines=LOG_LINES), self.platform.logs(candidate, lines=LOG_LINES)
            self.ledger.write(log_path(self.release_id), "\n".join(filter(None, told)).encode())

    def _pay_for(self, deployment: Deployment) -> None:
        self.purse.meter.begin(deployment.deployment_id, partial(self.platform.lifetimes, deployment))

    @property
    def spent_usd(self) -> float:
        """What the run has cost until now."""
        return self.purse.charge()

    def remaining_s(self) -> float:
        """How long the stage may go on: until the run's deadline, and on GPUs until its budget is spent.

        Raises:
            Rejected: If it may not.
        """
        return self.purse.remaining_s(self._stage)

    def _reason(self, error: BaseException) -> BaseException:
        """Work that was ended at the run's own limit says that it took too long; what ended it is the limit."""
        if isinstance(error, Transient | Crashed):
            try:
                self.remaining_s()
            except Rejected as limit:
                return limit
        return error

    @contextmanager
    def stage(self, name: Stage) -> Iterator[StageLog]:
        """Time a stage, record how it ends, and tell observers. A stage entered again counts as a retry."""
        entry = next((s for s in self.record.stages if s.name == name), None)
        if entry is None:
            entry = StageRecord(name=name, status=StageStatus.RUNNING, started_at=utc_now())
            self.record.stages.append(entry)
        else:
            entry.status, entry.attempts = StageStatus.RUNNING, entry.attempts + 1
        self._stage = name
        log = StageLog(self.release_id, entry)
        try:
            self.ledger.save(self.record)
            log.tell("started")
            self.purse.require_affordable(name)
            yield log
        except BaseException as error:
            reason = self._reason(error)
            entry.message = reason.message if isinstance(reason, SlipwayError) else repr(reason)
            self._close(log, StageStatus.FAILED, "failed")
            if reason is not error:
                raise reason from error
            raise
        if log.skipped:
            self._close(log, StageStatus.SKIPPED, "skipped")
        else:
            self._close(log, StageStatus.DONE, "done")

    def _close(self, log: StageLog, status: StageStatus, kind: EventKind) -> None:
        entry = log.entry
        entry.status = status
        entry.seconds += log.elapsed_s()
        self.purse.charge()
        self.ledger.save(self.record)
        log.tell(kind)

    def finish(self, outcome: Outcome, reason: str, *, error: BaseException | None, exit_code: int) -> ReleaseRecord:
        """Close the record. Overhead is the wall time that neither a stage nor a person took."""
        record = self.record
        record.outcome, record.reason, record.exit_code = outcome, reason, exit_code
        record.error_kind = type(error).__name__ if error else ""
        record.ended_at = utc_now()
        waited_s = sum(approval.waited_s for approval in record.approvals)
        record.overhead_s = self.purse.elapsed_s - sum(stage.seconds for stage in record.stages) - waited_s
        self.purse.charge(until=record.ended_at)
        self.ledger.save(record)
        return record


class StageLog:
    """What a stage says while it runs."""

    def __init__(self, release_id: str, entry: StageRecord) -> None:
        self.entry = entry
        self.skipped = False
        self._release_id = release_id
        self._began_s = time.monotonic()
        self._told_s = 0.0

    def elapsed_s(self) -> float:
        """Seconds since this attempt began."""
        return time.monotonic() - self._began_s

    def done(self, message: str) -> None:
        """Say in a few words what the stage gave."""
        self.entry.message = message

    def skip(self, why: str) -> None:
        """Say that there was nothing to do."""
        self.skipped, self.entry.message = True, why

    def progress(self, progress: Progress) -> None:
        """Pass progress on to observers, at most every `PROGRESS_EVERY_S`."""
        now_s = time.monotonic()
        if now_s - self._told_s >= PROGRESS_EVERY_S:
            self._told_s = now_s
            self.tell("progress", progress)

    def tell(self, kind: EventKind, progress: Progress | None = None) -> None:
        """Publish an event of this stage."""
        event = StageEvent(self._release_id, self.entry.name, kind, self.entry.message, self.elapsed_s(), progress)
        publish(event)


@contextmanager
def open_run(profile: Profile) -> Iterator[Run]:
    """Hold the app for one release, clear away what dead runs left, and begin a record.

    Raises:
        Busy: If another run holds the app, also after waiting where the profile says so.
        Misconfigured: If the platform is not there.
    """
    platform = open_platform(profile.platform, profile)
    with holding(platform, profile.app, profile.exclusive), hub_endpoint(profile) as hub:
        run = Run(profile, platform, hub)
        clear_after_dead_runs(platform, run.ledger, profile.app)
        run.ledger.save(run.record)
        yield run


def clear_after_dead_runs(platform: Platform, ledger: Ledger, app: str) -> list[ReleaseRecord]:
    """Close records whose process died, and stop servers that are not live. Needs the app's lock.

    Returns:
        The records that were closed.
    """
    live = platform.live(app)
    lives: dict[str, list[Lifetime]] = {}
    for deployment in platform.deployments(app):
        if live is None or deployment.deployment_id != live.deployment_id:
            platform.stop(deployment)
            lives.setdefault(deployment.release_id, []).extend(told(partial(platform.lifetimes, deployment)))
    left = [record for record in ledger.records(app) if record.outcome is Outcome.RUNNING]
    for record in left:
        stage = record.stages[-1].name if record.stages else "the beginning"
        record.ended_at = utc_now()
        charge_orphans(record, lives.get(record.release_id, []))
        if live is not None and live.release_id == record.release_id:
            record.outcome, record.version = Outcome.PROMOTED, live.version
            record.reason = f"its process died in {stage!r}, after the switch; the release serves"
        else:
            record.outcome = Outcome.INTERRUPTED
            record.reason = f"its process died in {stage!r}; {_production_after(platform, record)}"
        ledger.save(record)
    return left


def charge_orphans(record: ReleaseRecord, lives: list[Lifetime]) -> None:
    """Put what servers cost that outlived their run onto the stage in which it died, for that is what they were for."""
    if lives and record.ended_at:
        price_usd = float(record.profile["hardware"]["cost_per_hour_usd"])
        charge(record.stages[-1:], lives, now=record.ended_at, price_usd=price_usd)
        record.cost_usd = sum(stage.cost_usd for stage in record.stages)


def _production_after(platform: Platform, record: ReleaseRecord) -> str:
    """What became of production after a run that died; where it had stopped the live release, that is started again."""
    if record.profile.get("strategy") != "in_place":
        return "production was not touched"
    try:
        restore(platform, record.app, timeout_s=record.profile["scaling"]["startup_timeout_s"])
    except SlipwayError as error:
        return f"the live release, stopped by it, does not start again: {error}"
    return "the live release serves"


def restore(platform: Platform, app: str, *, timeout_s: float) -> None:
    """Start the live release again where a run in place has stopped it. Harmless where it serves."""
    live = platform.live(app)
    if live is None or live.deployment_id in {running.deployment_id for running in platform.deployments(app)}:
        return
    platform.roll_back(app, live.version, timeout_s=timeout_s)


def deployment_of(release: Release) -> Deployment:
    """The server behind a release."""
    return Deployment(release.app, release.deployment_id, release.release_id, release.url)


def new_release_id(app: str) -> str:
    """An id that sorts by time: `<app>.<UTC time>-<random>`."""
    return f"{app}.{utc_now():%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
