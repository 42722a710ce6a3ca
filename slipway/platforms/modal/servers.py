"""Candidates: each an app of its own, beside the live one in the same environment, where the same volumes are.

deployments/<app>/<id>.json    in the volume of releases: written before a candidate is deployed, removed
when it is stopped, so that every candidate that may run is known
server/<id>                    in the Dict: its app's id and when it was stopped, for its log and its costs
"""

from __future__ import annotations

import json
import secrets as random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from slipway.errors import Crashed, Misconfigured
from slipway.platforms.modal import apps, handles
from slipway.platforms.modal.definitions import SOURCES, serve_app
from slipway.platforms.modal.errors import translated
from slipway.platforms.modal.images import image_for
from slipway.platforms.modal.server_container import crash_key, phase_key
from slipway.platforms.modal.volumes import ModalVolume
from slipway.platforms.port import Deployment, Lifetime, Phase, ServerSpec, ServerStatus
from slipway.platforms.records import spec_from_json
from slipway.units import show_seconds, utc_now

POLL_S: Final = 0.5
_TOLD_LINES: Final = 30


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is written down of a candidate."""

    deployment: Deployment
    spec: ServerSpec


def new_id(app: str) -> str:
    """The id of a deployment, and the name of its app: Modal allows 64 characters, and 50 for a tag."""
    return f"{app[:27]}-c-{utc_now():%y%m%d-%H%M%S}-{random.token_hex(2)}"


class Candidates:
    """The candidates of one environment.

    Args:
        sources: Packages that containers import.
    """

    def __init__(self, sources: tuple[str, ...] = SOURCES) -> None:
        self._sources = sources

    @property
    def _volume(self) -> ModalVolume:
        return ModalVolume(handles.RELEASES)

    def deploy(self, app: str, spec: ServerSpec) -> Deployment:
        """Start a candidate; returns when Modal has it, long before it is ready."""
        candidate_id = new_id(app)
        self._note(Candidate(Deployment(app, candidate_id, spec.release_id, ""), spec))
        try:
            image = image_for(spec.resources, self._sources)
            definition = serve_app(
                candidate_id,
                spec,
                spec.replicas.single(),
                server_id=candidate_id,
                image=image,
            )
            deployed = apps.put(definition, candidate_id, tag=candidate_id)
            deployment = Deployment(app, candidate_id, spec.release_id, apps.url_of(candidate_id, handles.SERVE))
            self._note(Candidate(deployment, spec))
            with translated(f"writing down {candidate_id}"):
                handles.state().put(_server_key(candidate_id), asdict(deployed) | {"image_id": image.object_id})
        except BaseException:
            self.stop(app, candidate_id)
            raise
        return deployment

    def _note(self, candidate: Candidate) -> None:
        deployment = candidate.deployment
        document = {"deployment": asdict(deployment), "spec": asdict(candidate.spec)}
        self._volume.write(_path(deployment.app, deployment.deployment_id), json.dumps(document, indent=1).encode())

    def find(self, app: str, candidate_id: str) -> Candidate:
        """What was written down of a candidate.

        Raises:
            Misconfigured: When it was stopped, or never was.
        """
        try:
            document = json.loads(self._volume.read(_path(app, candidate_id)))
        except FileNotFoundError:
            raise Misconfigured(f"There is no candidate {candidate_id}.", remedy="Deploy it.") from None
        return Candidate(Deployment(**document["deployment"]), spec_from_json(document["spec"]))

    def known(self, app: str) -> Iterator[Candidate]:
        """Every candidate that was deployed and not stopped, oldest first."""
        folder = f"{_FOLDER}/{app}/"
        for entry in self._volume.entries(folder.rstrip("/")):
            yield self.find(app, entry.path.removeprefix(folder).removesuffix(".json"))

    def status(self, candidate_id: str) -> ServerStatus:
        """The phase now. A candidate that crashed is stopped: Modal would start it again, at the price of its GPUs."""
        with translated(f"looking at {candidate_id}"):
            crash = handles.state().get(crash_key(candidate_id))
            told = crash or handles.state().get(phase_key(candidate_id))
        if crash:
            apps.stop(candidate_id)
        elif apps.look(candidate_id) is None:
            return ServerStatus(Phase.STOPPED, "stopped")
        return as_status(told) if told else ServerStatus(Phase.STARTING, "waiting for a container")

    def wait_ready(self, deployment: Deployment, *, timeout_s: float) -> ServerStatus:
        """Block until ready; raises `Crashed` with the last log lines if it dies or misses the deadline."""
        deadline = time.monotonic() + timeout_s
        candidate_id = deployment.deployment_id
        while (status := self.status(candidate_id)).phase is Phase.STARTING and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if status.phase is Phase.READY:
            return status
        how = f"was not ready within {show_seconds(timeout_s)}" if status.phase is Phase.STARTING else status.phase
        last = "" if "\n" in status.detail else self.log(candidate_id, lines=_TOLD_LINES)
        raise Crashed(
            f"Server {candidate_id} {how}: {status.detail}\n{last}",
            remedy=f"Read its log: `modal app logs {self._app_id(candidate_id) or candidate_id}`.",
        )

    def stop(self, app: str, candidate_id: str) -> None:
        """End a candidate. Harmless when it has ended."""
        apps.stop(candidate_id)
        with translated(f"writing down {candidate_id}"):
            noted = handles.state().get(_server_key(candidate_id))
            if noted and "ended_at" not in noted:
                handles.state().put(_server_key(candidate_id), noted | {"ended_at": utc_now().isoformat()})
        try:
            self._volume.remove(_path(app, candidate_id))
        except FileNotFoundError:
            return

    def log(self, candidate_id: str, *, lines: int) -> str:
        """The last lines that it printed."""
        app_id = self._app_id(candidate_id)
        return apps.log(app_id, lines=lines) if app_id else ""

    def deploy_log(self, candidate_id: str, *, lines: int) -> str:
        """What it was deployed as, and the last lines of how its image was built."""
        noted = self._noted(candidate_id)
        if "image_id" not in noted:
            return ""
        app, image = f"{noted['app_id']} version {noted['version']}", noted["image_id"]
        return f"deployed as {app} with image {image}\n{apps.build_log(image, lines=lines)}"

    def lifetimes(self, candidate_id: str) -> Sequence[Lifetime]:
        """When its container ran, by what that told itself."""
        noted = self._noted(candidate_id)
        with translated(f"looking at {candidate_id}"):
            told = handles.state().get(phase_key(candidate_id))
        if not told:
            return []
        ended_at = datetime.fromisoformat(noted["ended_at"]) if "ended_at" in noted else None
        return [Lifetime(datetime.fromisoformat(told["began_at"]), ended_at)]

    def _app_id(self, candidate_id: str) -> str | None:
        return self._noted(candidate_id).get("app_id")

    def _noted(self, candidate_id: str) -> dict[str, Any]:
        with translated(f"looking for {candidate_id}"):
            return handles.state().get(_server_key(candidate_id)) or {}


def as_status(told: dict[str, Any]) -> ServerStatus:
    """What a container told, as a status."""
    kernels = told.get("kernels")
    return ServerStatus(
        Phase(told["phase"]), told["detail"], told["timings_s"], None if kernels is None else tuple(kernels)
    )


_FOLDER: Final = "deployments"


def _path(app: str, candidate_id: str) -> str:
    return f"{_FOLDER}/{app}/{candidate_id}.json"


def _server_key(candidate_id: str) -> str:
    return f"server/{candidate_id}"
