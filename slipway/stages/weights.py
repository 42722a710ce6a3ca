"""Bringing the weights to the volume, and proving that they arrived."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from slipway.errors import Corrupt
from slipway.platforms.port import Job, Mount, Platform, Progress, ProgressSink
from slipway.profile import Profile
from slipway.profile.models import WeightsSpec
from slipway.stages.datasets import sync_datasets
from slipway.stages.exclusive import holding
from slipway.stages.machines import helper
from slipway.stages.names import Stage
from slipway.stages.planning import weights_volume
from slipway.stages.run import Run
from slipway.stages.side_by_side import run_side_by_side
from slipway.units import show_bytes
from slipway.weights.manifest import Manifest
from slipway.weights.verify import parts


class Work(Protocol):
    """Some weights and where they are wanted: what the functions below need to know of it."""

    @property
    def manifest(self) -> Manifest:
        """Which files."""

    @property
    def spec(self) -> WeightsSpec:
        """How they are fetched and read."""

    @property
    def source(self) -> dict[str, object]:
        """The Hub, as arguments of jobs that ask it for files."""

    def writing(self) -> AbstractContextManager[None]:
        """Hold them, for there is one writer; raises `Busy` when another process writes them."""

    def run(self, function: str, **arguments: Any) -> Any:
        """Run a job of `slipway.weights`, `module:name`, to its end."""

    def run_all(self, function: str, each: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run a job with each of several arguments; the results in their order."""


@dataclass(frozen=True, slots=True)
class WeightsWork:
    """Some weights, the platform they are wanted on, and how long the work on them may take.

    Attributes:
        platform: Where.
        profile: Whose weights.
        manifest: Which files.
        hub: Base URL of the Hub.
        timeout_s: Deadline of each job.
        progress: Told how far a job is.
    """

    platform: Platform
    profile: Profile
    manifest: Manifest
    hub: str
    timeout_s: float
    progress: ProgressSink

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold this revision, for there is one writer of each; the lock is the platform's: a dead writer holds nothing.

        Raises:
            Busy: If another process writes it, also after waiting where the profile says so.
        """
        with holding(self.platform, lease_of(self.profile, self.manifest.commit), self.profile.exclusive):
            yield

    def job(self, function: str, **arguments: Any) -> Job:
        """A job on a writable mount of the weights."""
        return weights_job(self.profile, function, {"manifest": self.manifest.model_dump(mode="json"), **arguments})

    def run(self, function: str, **arguments: Any) -> Any:
        """Run a job to its end."""
        job = self.platform.start_job(self.job(function, **arguments))
        return job.wait(timeout_s=self.timeout_s, progress=self.progress)

    def run_all(self, function: str, each: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run a job for each of several arguments, side by side; one that is lost goes on where it ended."""
        note = f"{len(self.manifest.files)} files in {len(each)} jobs"
        return run_side_by_side(
            self.platform,
            [self.job(function, **arguments) for arguments in each],
            timeout_s=self.timeout_s,
            whole=Progress(0, self.manifest.total_bytes, "bytes", note),
            progress=self.progress,
        )

    @property
    def spec(self) -> WeightsSpec:
        """How the profile has them fetched and read."""
        return self.profile.weights

    @property
    def source(self) -> dict[str, object]:
        """The Hub, as arguments of jobs that ask it for files."""
        return {"endpoint": self.hub, "token_env": self.profile.model.token_secret}


def lease_of(profile: Profile, commit: str) -> str:
    """Name under which whoever writes a revision holds it."""
    return f"{weights_volume(profile)}.{commit[:12]}"


def weights_job(profile: Profile, function: str, arguments: Mapping[str, Any]) -> Job:
    """A job of `slipway.weights`, `module:name`, on a writable mount of a profile's weights."""
    secret = profile.model.token_secret
    volume = weights_volume(profile)
    return Job(
        name=function.rpartition(":")[2],
        function=f"slipway.weights.{function}",
        arguments=arguments,
        mounts=(Mount("weights", volume, read_only=False),),
        secrets=(secret,) if secret else (),
        resources=helper(profile, "weights"),
        work=json.dumps([volume, function, arguments], sort_keys=True),
    )


def fetch(work: Work) -> dict[str, Any]:
    """Fetch the files that are missing; a `SyncResult` as JSON."""
    spec = work.spec
    return dict(work.run("sync:sync", **work.source, max_workers=spec.fetch_workers, stall_s=spec.stall_timeout_s))


def mend(work: Work) -> dict[str, Any]:
    """Fetch what is wrong or missing over plain HTTP, and hash it; a `RepairResult` as JSON."""
    return dict(work.run("repair:repair", **work.source, stall_s=work.spec.stall_timeout_s))


def look_quickly(work: Work) -> dict[str, Any]:
    """Check sizes and structure; a `TierResult` as JSON."""
    return dict(work.run("tiers:quick"))


def look_at_samples(work: Work) -> dict[str, Any]:
    """Check structure, some digests, and ranges against the Hub; a `TierResult` as JSON."""
    return dict(work.run("tiers:sampled", **work.source, seed=secrets.randbits(32)))


def prove(work: Work) -> dict[str, Any]:
    """Hash every file from fresh processes, repairing once what is wrong, then mark the weights ready.

    Returns:
        Number of `files` verified, `bytes_hashed`, and the paths that were `repaired`.

    Raises:
        Corrupt: If a file is wrong that repairing does not make right.
    """
    try:
        return {**hash_all(work), "repaired": ()}
    except Corrupt:
        repaired = mend(work)["repaired"]
        if not repaired:
            raise  # as published: nothing was missing
    return {**hash_all(work), "repaired": repaired}


def hash_all(work: Work) -> dict[str, Any]:
    """Hash every file, on as many workers as the profile says; number of `files`, and `bytes_hashed`.

    Raises:
        Corrupt: If anything is wrong; what it is was put into quarantine.
    """
    workers = work.spec.verify_workers
    if workers == 1:
        return dict(work.run("verify:verify"))
    shares = parts(work.manifest, workers)
    found = work.run_all("verify:verify_part", [{"paths": paths, "part": n} for n, paths in enumerate(shares)])
    verdicts = [verdict for verdicts in found for verdict in verdicts]
    return {"files": work.run("verify:conclude", verdicts=verdicts), "bytes_hashed": work.manifest.total_bytes}


def _work_of(run: Run, progress: ProgressSink) -> WeightsWork:
    return WeightsWork(run.platform, run.profile, run.manifest, run.hub, run.remaining_s(), progress)


def sync_weights(run: Run) -> None:
    """The stage: fetch the files that are missing; resumes what an earlier run began.

    Datasets of accuracy suites come along: what cannot be had should be known before any GPU costs money.
    """
    with run.stage(Stage.SYNC) as stage:
        sync_datasets(run.platform, run.profile, progress=stage.progress)
        if not run.plan.step(Stage.SYNC).runs:
            stage.skip(run.plan.step(Stage.SYNC).why)
            return
        work = _work_of(run, stage.progress)
        with work.writing():
            result = fetch(work)
        restarts = f"; started again {result['restarts']} times" if result["restarts"] else ""
        stage.done(
            f"{result['files_fetched']} files, {show_bytes(result['bytes_fetched'])} fetched, "
            f"{result['files_kept']} kept{restarts}"
        )


def verify_weights(run: Run) -> None:
    """The stage: hash every file from a fresh process, repair what is wrong, then mark the weights ready."""
    with run.stage(Stage.VERIFY) as stage:
        work = _work_of(run, stage.progress)
        with work.writing():
            result = prove(work)
        repaired = f"; repaired: {', '.join(result['repaired'])}" if result["repaired"] else ""
        stage.done(f"{result['files']} files, {show_bytes(result['bytes_hashed'])} hashed, all as published{repaired}")
