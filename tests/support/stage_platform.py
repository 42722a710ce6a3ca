"""A platform in memory for the stages: servers are names, releases a list; jobs are not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from slipway.errors import Crashed, Misconfigured
from slipway.platforms.check import Check, Health, Needs
from slipway.platforms.port import Deployment, Lifetime, Phase, Release, ServerSpec, ServerStatus
from slipway.units import utc_now
from tests.support.measure_volume import MemoryVolume


class MemoryPlatform:
    """The part of the port that deploying, promoting and undoing need."""

    kind = "memory"

    def __init__(self) -> None:
        self.volumes: dict[str, MemoryVolume] = {}
        self.running: dict[str, Deployment] = {}
        self.lives: dict[str, list[Lifetime]] = {}
        self.releases: list[Release] = []
        self.live_version: int | None = None
        self.roll_back_fails = False

    def volume(self, name: str) -> MemoryVolume:
        return self.volumes.setdefault(name, MemoryVolume(name))

    def secret(self, name: str) -> str:
        return f"value of {name}"

    @contextmanager
    def exclusive(self, app: str) -> Iterator[None]:
        yield

    def deploy(self, app: str, spec: ServerSpec) -> Deployment:
        number = len(self.running) + len(self.releases) + 1
        deployment = Deployment(app, f"server-{number}", spec.release_id, f"http://server-{number}")
        self.running[deployment.deployment_id] = deployment
        return deployment

    def stop(self, deployment: Deployment) -> None:
        self.running.pop(deployment.deployment_id, None)

    def logs(self, deployment: Deployment, *, lines: int = 200) -> str:
        return f"what {deployment.deployment_id} printed"

    def deploy_log(self, deployment: Deployment, *, lines: int = 200) -> str:
        return f"how {deployment.deployment_id} was built"

    def lifetimes(self, deployment: Deployment) -> Sequence[Lifetime]:
        return self.lives.get(deployment.deployment_id, ())

    def diagnose(self, needs: Needs) -> Iterator[Check]:
        yield Check("memory", Health.OK, f"volumes {', '.join(needs.volumes)}")

    def deployments(self, app: str) -> Sequence[Deployment]:
        return list(self.running.values())

    def status(self, deployment: Deployment) -> ServerStatus:
        runs = deployment.deployment_id in self.running
        return ServerStatus(Phase.READY) if runs else ServerStatus(Phase.CRASHED, "it is gone")

    def history(self, app: str) -> Sequence[Release]:
        return self.releases

    def live(self, app: str) -> Release | None:
        return next((r for r in self.releases if r.version == self.live_version), None)

    def live_url(self, app: str) -> str:
        return "http://live"

    def promote(self, deployment: Deployment) -> Release:
        return self._switch(deployment, None)

    def roll_back(self, app: str, version: int, *, timeout_s: float) -> Release:
        if self.roll_back_fails:
            raise Crashed("it does not start.", remedy="look.")
        found = next((r for r in self.releases if r.version == version), None)
        if found is None:
            raise Misconfigured(f"no version {version}", remedy="name another.")
        return self._switch(Deployment(app, found.deployment_id, found.release_id, found.url), version)

    def stop_app(self, app: str) -> None:
        self.running.clear()
        self.live_version = None

    def _switch(self, deployment: Deployment, rolled_back_to: int | None) -> Release:
        spec = ServerSpec(release_id=deployment.release_id, argv=(), env={}, mounts=())
        self.live_version = len(self.releases) + 1
        release = Release(
            app=deployment.app,
            version=self.live_version,
            release_id=deployment.release_id,
            deployment_id=deployment.deployment_id,
            url=deployment.url,
            spec=spec,
            promoted_at=utc_now(),
            rolled_back_to=rolled_back_to,
        )
        self.releases.append(release)
        self.running[deployment.deployment_id] = deployment
        return release
