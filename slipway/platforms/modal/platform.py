"""`ModalPlatform`: the port's volumes, jobs, servers and releases at Modal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import modal

from slipway.errors import Crashed, Misconfigured
from slipway.platforms.check import Check, Needs
from slipway.platforms.modal import apps, handles
from slipway.platforms.modal.definitions import SOURCES, Place, jobs_app
from slipway.platforms.modal.errors import translated
from slipway.platforms.modal.jobs import ModalJob, start_job
from slipway.platforms.modal.lease import Lease, taken
from slipway.platforms.modal.releases import LiveReleases
from slipway.platforms.modal.secrets import Secrets
from slipway.platforms.modal.server_container import phase_key
from slipway.platforms.modal.servers import Candidates, as_status
from slipway.platforms.modal.volumes import ModalVolume
from slipway.platforms.naming import checked_name
from slipway.platforms.port import Deployment, Job, Lifetime, Phase, Release, ServerSpec, ServerStatus
from slipway.redact import redact_text


class ModalPlatform:
    """The port's `Platform` in the environment of Modal that the client is set to.

    Args:
        root: Directory of what is kept on this machine: the values of secrets that were made here.
        jobs: Name of the app of jobs.
        sources: Packages that containers import.
    """

    kind = "modal"

    def __init__(
        self,
        root: Path,
        *,
        jobs: str = "slipway-jobs",
        sources: tuple[str, ...] = SOURCES,
    ) -> None:
        self._jobs = jobs
        self._places: list[Place] = []
        self._sources = sources
        self._secrets = Secrets(root / "secrets")
        self._candidates = Candidates(sources)
        self._releases = LiveReleases(self._secrets, sources)
        self._leases: dict[str, Lease] = {}

    def volume(self, name: str) -> ModalVolume:
        """The volume of that name, made when it is not there."""
        return ModalVolume(name)

    def secret(self, name: str) -> str:
        """The value of a secret; raises `Misconfigured` where it is not set and cannot be made."""
        return self._secrets.value(name)

    def provide(self, names: Iterable[str]) -> None:
        """Have Modal know these secrets, before an app that needs them is deployed."""
        self._secrets.ensure(names)

    @contextlib.contextmanager
    def exclusive(self, app: str) -> Iterator[None]:
        """Hold the app for one release; raises `Busy` when another run holds it."""
        with taken(checked_name("app", app)) as lease:
            self._leases[app] = lease
            try:
                yield
            finally:
                del self._leases[app]

    def foresee(self, jobs: Iterable[Job]) -> None:
        """Have the app of jobs made for these kinds at once; others are added as they come."""
        self._places.extend(Place.of(job) for job in jobs)

    def start_job(self, job: Job) -> ModalJob:
        """Start a job, or pick up the one that does the same work. It outlives this process."""
        self._secrets.ensure(job.secrets)
        return start_job(job, self._function(Place.of(job)))

    def _function(self, place: Place) -> modal.Function[..., str, object]:
        """The function of a place; its name says all about it, so one that is there is right."""
        name = place.function_name(self._sources)
        with translated(f"looking for function {name}"):
            try:
                return modal.Function.from_name(self._jobs, name).hydrate()
            except modal.exception.NotFoundError:
                self._deploy_jobs(place)
                return modal.Function.from_name(self._jobs, name).hydrate()

    def _deploy_jobs(self, place: Place) -> None:
        if place not in self._places:
            self._places.append(place)
        for secrets in (known.secrets for known in self._places):
            self._secrets.ensure(secrets)
        apps.put(jobs_app(self._jobs, self._places, self._sources), self._jobs, tag="")

    def deploy(self, app: str, spec: ServerSpec) -> Deployment:
        """Start a candidate beside the live release. It outlives this process."""
        self._require_lease(app)
        self._secrets.ensure(spec.secrets)
        return self._candidates.deploy(checked_name("app", app), spec)

    def status(self, deployment: Deployment) -> ServerStatus:
        """The server's phase now."""
        if live := self._live_of(deployment):
            return self._live_status(live)
        return self._candidates.status(deployment.deployment_id)

    def wait_ready(self, deployment: Deployment, *, timeout_s: float) -> ServerStatus:
        """Block until ready; raises `Crashed` with the last log lines if it dies or misses the deadline."""
        if live := self._live_of(deployment):
            return self._live_status(live)
        with _without_secrets():
            return self._candidates.wait_ready(deployment, timeout_s=timeout_s)

    def stop(self, deployment: Deployment) -> None:
        """End a server. Harmless when it has ended."""
        if self._live_of(deployment):
            self._releases.stop(deployment.app)
        self._candidates.stop(deployment.app, deployment.deployment_id)

    def logs(self, deployment: Deployment, *, lines: int = 200) -> str:
        """The last lines the server printed, secrets removed."""
        if self._live_of(deployment) and (now := apps.look(deployment.app)):
            printed = apps.log(now.app_id, lines=lines)
        else:
            printed = self._candidates.log(deployment.deployment_id, lines=lines)
        return redact_text(printed)

    def deploy_log(self, deployment: Deployment, *, lines: int = 200) -> str:
        """What a candidate was deployed as, and the last lines of how its image was built."""
        return redact_text(self._candidates.deploy_log(deployment.deployment_id, lines=lines))

    def lifetimes(self, deployment: Deployment) -> Sequence[Lifetime]:
        """The container of a candidate; those of a live release come and go untold."""
        return self._candidates.lifetimes(deployment.deployment_id)

    def deployments(self, app: str) -> Sequence[Deployment]:
        """All servers of the app that run, the live one among them."""
        live = self.live(app)
        running = [Deployment(app, live.deployment_id, live.release_id, live.url)] if live and apps.look(app) else []
        for candidate in self._candidates.known(app):
            deployment = candidate.deployment
            if self._candidates.status(deployment.deployment_id).phase in {Phase.STARTING, Phase.READY}:
                running.append(deployment)
            else:
                self._candidates.stop(app, deployment.deployment_id)
        return running

    def live(self, app: str) -> Release | None:
        """The release users reach, or None before the first."""
        return self._releases.live(checked_name("app", app))

    def live_url(self, app: str) -> str:
        """The stable address users have; Modal gives it with the first release, until then it is empty."""
        history = self.history(app)
        return history[-1].url if history else ""

    def history(self, app: str) -> Sequence[Release]:
        """All versions, oldest first."""
        return self._releases.history(checked_name("app", app))

    def promote(self, deployment: Deployment) -> Release:
        """Deploy the candidate's release under the live name, where old containers serve until new ones are up.

        The candidate itself is stopped first: the live release's new containers need machines as well.

        Raises:
            Crashed: When the candidate is not ready, or users would not reach its release; nothing has changed then.
        """
        self._require_lease(deployment.app)
        if live := self._live_of(deployment):
            return live
        status = self.status(deployment)
        if status.phase is not Phase.READY:
            raise Crashed(
                f"Server {deployment.deployment_id} is not ready but {status.phase}: {status.detail}",
                remedy="Read its log; production was not touched.",
            )
        spec = self._candidates.find(deployment.app, deployment.deployment_id).spec
        self._candidates.stop(deployment.app, deployment.deployment_id)
        return self._releases.promote(deployment, spec)

    def roll_back(self, app: str, version: int, *, timeout_s: float) -> Release:
        """Let users reach an explicit earlier version again, deploying it anew where Modal does not go back."""
        self._require_lease(app)
        return self._releases.roll_back(checked_name("app", app), version, timeout_s=timeout_s)

    def stop_app(self, app: str) -> None:
        """End every server of an app, the live one too. The history stays."""
        self._releases.stop(checked_name("app", app), forget=True)
        for candidate in self._candidates.known(app):
            self._candidates.stop(app, candidate.deployment.deployment_id)

    def diagnose(self, needs: Needs) -> Iterator[Check]:
        """What Modal has to say of itself; nothing is made or changed by looking."""
        from slipway.platforms.modal.diagnosis import diagnose  # noqa: PLC0415  # only doctors need it

        return diagnose(needs, self._secrets)

    def _require_lease(self, app: str) -> None:
        """Whoever was taken for dead must not touch production."""
        if lease := self._leases.get(app):
            lease.require()

    def _live_of(self, deployment: Deployment) -> Release | None:
        """The live release, if this deployment has become it."""
        with contextlib.suppress(Misconfigured):  # changed by hand: then it is none of ours
            live = self.live(deployment.app)
            if live is not None and live.deployment_id == deployment.deployment_id:
                return live
        return None

    def _live_status(self, live: Release) -> ServerStatus:
        """Of a live release: with no container up it serves nevertheless, for the next request starts one."""
        if apps.look(live.app) is None:
            return ServerStatus(Phase.STOPPED, "stopped")
        with translated(f"looking at {live.app}"):
            told = handles.state().get(phase_key(self._releases.server_id(live.app, live.version)))
        status = as_status(told) if told else ServerStatus(Phase.READY, "serving")
        if status.phase is Phase.CRASHED:
            return status
        return ServerStatus(Phase.READY, status.detail, status.timings_s, status.kernels)


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Errors quote the last lines of a log, so they are cleaned like it."""
    try:
        yield
    except Crashed as error:
        raise Crashed(redact_text(error.message), remedy=error.remedy) from None
