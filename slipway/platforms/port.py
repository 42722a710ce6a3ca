"""The port every platform implements: volumes, jobs, servers and releases.

`tests/contract` holds the suite that each implementation passes.

Code that runs in a job or a server knows no platform. It is given plain paths: in an argument or an
environment variable, `${name}` stands for the directory where the mount of that name is; a server also
gets `${port}` (where it must listen) and `${status}` (the file in which it tells its phase).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from slipway.platforms.check import Check, Needs
from slipway.platforms.resources import Replicas, Resources


@dataclass(frozen=True, slots=True)
class VolumeEntry:
    """One committed file of a volume."""

    path: str
    size_bytes: int


class Volume(Protocol):
    """A named directory that outlives jobs, as seen from outside: only what was committed.

    Paths are relative, with forward slashes. Reading or removing what is not there raises
    `FileNotFoundError`; a path that leaves the volume raises `Misconfigured`.
    """

    name: str

    def read(self, path: str) -> bytes:
        """The committed bytes of one file."""

    def write(self, path: str, data: bytes) -> None:
        """Store one file and commit it, atomically."""

    def entries(self, prefix: str = "") -> Iterator[VolumeEntry]:
        """Every committed file below `prefix`, sorted by path; nothing if there is none."""

    def remove(self, path: str) -> None:
        """Remove one file, or a directory with all in it, and commit."""

    def free_bytes(self) -> int | None:
        """Room left, or None where the platform cannot tell."""


class MountedVolume(Protocol):
    """A volume inside a job: a snapshot of what was committed when it was mounted."""

    path: Path

    def commit(self) -> None:
        """Publish what was written below `path`. Of two writers of one file, the last commit wins."""

    def reload(self) -> None:
        """See what others have committed since. Raises `Misconfigured` while own writes are uncommitted."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume to be mounted for a job or server under the name used in `${name}`."""

    name: str
    volume: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long piece of work is.

    Attributes:
        done: Units finished.
        total: Units in all, None while unknown.
        unit: What is counted: "bytes", "requests", "kernels", …
        note: What is being worked on, in a few words.
    """

    done: float
    total: float | None
    unit: str
    note: str = ""


ProgressSink = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When one container ran, in UTC: so long what it ran on was paid for.

    Attributes:
        began_at: When it was given to us; waiting for a free machine comes before.
        ended_at: When it was given back; None while it runs.
    """

    began_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job's function is given beside its arguments."""

    mounts: Mapping[str, MountedVolume]
    progress: ProgressSink


@dataclass(frozen=True, slots=True)
class Job:
    """A function run to completion in a process of its own.

    Attributes:
        name: For people and logs.
        function: `package.module:name`; called as `function(context, **arguments)`, returns JSON-able data.
        arguments: JSON-able keyword arguments.
        mounts: Volumes the job sees.
        env: Additional environment variables.
        secrets: Names of environment variables whose values the platform knows; never written anywhere.
        resources: The machine it needs.
        work: What it does, by content. Where jobs outlive those who started them, the next start of the same work
            picks up the job that still runs; empty: each start is a job of its own.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    work: str = ""


class JobHandle(Protocol):
    """A job under way."""

    def wait(self, *, timeout_s: float, progress: ProgressSink) -> Any:
        """Block until the job's result is there.

        An error of `slipway.errors` raised by the function is raised again with its own type; any other
        exception, or a process that ends without a result, as `JobDied`; a deadline missed as `Transient`
        after the job has been ended.
        """

    def cancel(self) -> None:
        """End the job and all its children. Harmless when it has ended."""

    def logs(self) -> str:
        """What the job printed so far."""

    def lifetimes(self) -> Sequence[Lifetime]:
        """Every container that the job has had; none where the platform cannot tell."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server as it can be started again later: nothing in it is secret or bound to one machine.

    Attributes:
        release_id: The id that the server must answer with.
        argv: The container's command; `${…}` as the module says.
        env: Environment; `${…}` as the module says.
        mounts: Volumes, always read-only.
        secrets: Names of secret environment variables.
        stop_grace_s: How long the server may take to finish what it has begun.
        resources: The machine that each of its containers needs.
        replicas: How many containers serve users.
    """

    release_id: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    secrets: tuple[str, ...] = ()
    stop_grace_s: float = 20.0
    resources: Resources = field(default_factory=Resources)
    replicas: Replicas = field(default_factory=Replicas)


class Phase(StrEnum):
    """Where in its life a server is."""

    STARTING = "starting"
    READY = "ready"  # a completed inference, not an open port
    STOPPED = "stopped"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server says of itself.

    Attributes:
        phase: Where it is.
        detail: The reason, for a crash; otherwise what it is doing.
        timings_s: Cold start by phase, e.g. `{"load": 1.2, "first_inference": 0.3}`.
        kernels: What it had to compile although it was made beforehand, and why; None where nobody counts.
    """

    phase: Phase
    detail: str = ""
    timings_s: Mapping[str, float] = field(default_factory=dict)
    kernels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A server that was started for a release, beside the live one."""

    app: str
    deployment_id: str
    release_id: str
    url: str


@dataclass(frozen=True, slots=True)
class Release:
    """One entry of an app's history. Promote and roll back both make a new version."""

    app: str
    version: int
    release_id: str
    deployment_id: str
    url: str
    spec: ServerSpec
    promoted_at: datetime
    rolled_back_to: int | None = None


class Platform(Protocol):
    """Volumes, jobs, servers and releases of one place."""

    kind: str

    def volume(self, name: str) -> Volume:
        """The volume of that name, made when it is not there."""

    def secret(self, name: str) -> str:
        """The value of a secret; raises `Misconfigured` where it is not set and cannot be made."""

    def exclusive(self, app: str) -> AbstractContextManager[None]:
        """Hold the app for one release; raises `Busy` when another run holds it. A dead holder holds nothing."""

    def start_job(self, job: Job) -> JobHandle:
        """Start a job, or pick up the one that does the same work. If it outlives this process is the platform's."""

    def deploy(self, app: str, spec: ServerSpec) -> Deployment:
        """Start a candidate beside the live release; returns at once. It outlives this process."""

    def status(self, deployment: Deployment) -> ServerStatus:
        """The server's phase now."""

    def wait_ready(self, deployment: Deployment, *, timeout_s: float) -> ServerStatus:
        """Block until ready; raises `Crashed` with the last log lines if it dies or misses the deadline."""

    def stop(self, deployment: Deployment) -> None:
        """End a server gracefully, then by force. Harmless when it has ended."""

    def logs(self, deployment: Deployment, *, lines: int = 200) -> str:
        """The last lines the server printed, secrets removed."""

    def deploy_log(self, deployment: Deployment, *, lines: int = 200) -> str:
        """What was deployed, and the last lines of how its image was built; empty where nothing is built."""

    def lifetimes(self, deployment: Deployment) -> Sequence[Lifetime]:
        """Every container that a server has had; none where the platform cannot tell."""

    def deployments(self, app: str) -> Sequence[Deployment]:
        """All servers of the app that run, the live one among them."""

    def live(self, app: str) -> Release | None:
        """The release users reach, or None before the first."""

    def live_url(self, app: str) -> str:
        """The stable address users have; it does not change with releases."""

    def history(self, app: str) -> Sequence[Release]:
        """All versions, oldest first."""

    def promote(self, deployment: Deployment) -> Release:
        """Let users reach this deployment: one atomic switch. The release before keeps running until stopped."""

    def roll_back(self, app: str, version: int, *, timeout_s: float) -> Release:
        """Let users reach an explicit earlier version again, restarting it where it no longer runs."""

    def stop_app(self, app: str) -> None:
        """End every server of an app, the live one too, and its live address. The history stays."""

    def diagnose(self, needs: Needs) -> Iterator[Check]:
        """What this place has to say of itself, one check after the other; nothing is made or changed by looking."""
