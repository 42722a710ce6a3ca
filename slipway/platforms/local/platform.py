"""`LocalPlatform`: the port's volumes, jobs, servers and releases on this host, below one directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from slipway.errors import Busy, Crashed, Misconfigured
from slipway.files import try_lock
from slipway.platforms.check import Check, Needs
from slipway.platforms.local.credentials import secret_value
from slipway.platforms.local.diagnosis import diagnose
from slipway.platforms.local.jobs import LocalJob, start_job
from slipway.platforms.local.ports import HOST
from slipway.platforms.local.releases import change_releases, find_release, read_releases
from slipway.platforms.local.routing import Routing
from slipway.platforms.local.servers import Servers
from slipway.platforms.local.volumes import LocalVolume
from slipway.platforms.naming import checked_name
from slipway.platforms.port import Deployment, Job, Lifetime, Phase, Release, ServerSpec, ServerStatus
from slipway.units import utc_now


class LocalPlatform:
    """The port's `Platform` on this host.

    Args:
        root: Directory of everything it keeps; objects and processes with the same one are the same platform.
    """

    kind = "local"

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)
        self._servers = Servers(self._root)

    def volume(self, name: str) -> LocalVolume:
        """The volume of that name, made when it is not there."""
        return LocalVolume(self._root, name)

    def secret(self, name: str) -> str:
        """The value of a secret; raises `Misconfigured` where it is not set and cannot be made."""
        return secret_value(self._root / "secrets", name)

    @contextlib.contextmanager
    def exclusive(self, app: str) -> Iterator[None]:
        """Hold the app for one release; raises `Busy` when another run holds it."""
        lock = self._root / "locks" / f"{checked_name('app', app)}.run"
        lock.parent.mkdir(exist_ok=True)
        with lock.open("a+") as file:
            if not try_lock(file.fileno()):
                file.seek(0)
                raise Busy(
                    f"{app} is being released by another run ({file.read() or 'just started'}).",
                    remedy="Wait until it has ended, or end it.",
                )
            file.truncate(0)
            file.write(f"process {os.getpid()}, since {utc_now():%Y-%m-%d %H:%M:%S} UTC")
            file.flush()
            yield

    def start_job(self, job: Job) -> LocalJob:
        """Start a job. It does not outlive the process that started it."""
        return start_job(self._root, job, {name: self.secret(name) for name in job.secrets})

    def deploy(self, app: str, spec: ServerSpec) -> Deployment:
        """Start a candidate beside the live release; returns at once. It outlives this process."""
        secrets = {name: self.secret(name) for name in spec.secrets}
        return self._servers.deploy(checked_name("app", app), spec, secrets)

    def status(self, deployment: Deployment) -> ServerStatus:
        """The server's phase now."""
        return self._servers.status(deployment.deployment_id)

    def wait_ready(self, deployment: Deployment, *, timeout_s: float) -> ServerStatus:
        """Block until ready; raises `Crashed` with the last log lines if it dies or misses the deadline."""
        secrets = self._secrets_of(deployment)
        return self._servers.wait_ready(deployment.deployment_id, timeout_s=timeout_s, secrets=secrets)

    def stop(self, deployment: Deployment) -> None:
        """End a server gracefully, then by force. Harmless when it has ended."""
        self._servers.stop(deployment.deployment_id)

    def logs(self, deployment: Deployment, *, lines: int = 200) -> str:
        """The last lines the server printed, secrets removed."""
        return self._servers.logs(deployment.deployment_id, lines=lines, secrets=self._secrets_of(deployment))

    def deploy_log(self, deployment: Deployment, *, lines: int = 200) -> str:  # noqa: ARG002 - the port's
        """Nothing: processes of this host need no image."""
        return ""

    def lifetimes(self, deployment: Deployment) -> Sequence[Lifetime]:
        """The one process that a server has had."""
        return self._servers.lifetimes(deployment.deployment_id)

    def deployments(self, app: str) -> Sequence[Deployment]:
        """All servers of the app that run, the live one among them."""
        return self._servers.running(app)

    def live(self, app: str) -> Release | None:
        """The release users reach, or None before the first."""
        releases = read_releases(self._root, checked_name("app", app))
        return releases.find(releases.live)

    def live_url(self, app: str) -> str:
        """The stable address users have; served as soon as a release is live."""
        routing = Routing(self._root, checked_name("app", app))
        if self.live(app):
            routing.ensure()
        return f"http://{HOST}:{routing.port}"

    def history(self, app: str) -> Sequence[Release]:
        """All versions, oldest first."""
        return read_releases(self._root, checked_name("app", app)).history

    def promote(self, deployment: Deployment) -> Release:
        """Let users reach this deployment: one atomic switch. The release before keeps running until stopped.

        Raises:
            Crashed: When the deployment is not ready, or users would not reach it; nothing has changed then.
        """
        return self._switch(deployment, rolled_back_to=None)

    def roll_back(self, app: str, version: int, *, timeout_s: float) -> Release:
        """Let users reach an explicit earlier version again, restarting it where it no longer runs."""
        release = find_release(self._root, checked_name("app", app), version)
        deployment = Deployment(app, release.deployment_id, release.release_id, release.url)
        if self.status(deployment).phase is not Phase.READY:
            deployment = self._restart(app, release.spec, timeout_s=timeout_s)
        return self._switch(deployment, rolled_back_to=version)

    def stop_app(self, app: str) -> None:
        """End all servers of the app and its live address. The history stays, for `roll_back` to a version."""
        change_releases(self._root, checked_name("app", app), lambda known: replace(known, live=None))
        Routing(self._root, app).stop()
        for deployment in self.deployments(app):
            self.stop(deployment)

    def diagnose(self, needs: Needs) -> Iterator[Check]:
        """The disk, the secrets and the volumes of this host."""
        return diagnose(self._root, needs)

    def _restart(self, app: str, spec: ServerSpec, *, timeout_s: float) -> Deployment:
        deployment = self.deploy(app, spec)
        try:
            self.wait_ready(deployment, timeout_s=timeout_s)
        except BaseException:
            self.stop(deployment)
            raise
        return deployment

    def _switch(self, deployment: Deployment, *, rolled_back_to: int | None) -> Release:
        """Write the new version, and prove at the live address that it is the one that answers."""
        app = deployment.app
        spec = self._servers.spec(deployment.deployment_id)
        status = self.status(deployment)
        if status.phase is not Phase.READY:
            raise Crashed(
                f"Server {deployment.deployment_id} is not ready but {status.phase}: {status.detail}",
                remedy="Read its log; production was not touched.",
            )
        routing = Routing(self._root, app)
        routing.ensure()
        before = read_releases(self._root, app)
        after = change_releases(self._root, app, lambda known: known.adding(deployment, spec, rolled_back_to))
        release = after.history[-1]
        try:
            routing.wait_switched(release)
        except BaseException:
            change_releases(self._root, app, lambda known: known.without(release, live=before.live))
            raise
        return release

    def _secrets_of(self, deployment: Deployment) -> list[str]:
        """Values that must not be shown; of those that are not known here, there is nothing to remove."""
        values = []
        with contextlib.suppress(Misconfigured):
            for name in self._servers.spec(deployment.deployment_id).secrets:
                values.append(self.secret(name))
        return values
