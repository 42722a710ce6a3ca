"""Jobs and servers as functions of Modal apps. docs/modal.md has the table of what is asked for, field by field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

import modal

from slipway.platforms.modal import handles
from slipway.platforms.modal.images import image_for, source_digest
from slipway.platforms.modal.job_container import run_job
from slipway.platforms.modal.server_container import ORDER, serve
from slipway.platforms.port import Job, Mount, ServerSpec
from slipway.platforms.resources import Replicas, Resources

SOURCES: Final = ("slipway",)
JOB_IDLE_S: Final = 2
"""A job's container is not used again (each job is to begin afresh), so it is not kept."""

JOB_STARTUP_S: Final = 1800.0
"""To find a machine, to fetch the image, and to import; GPUs of a wanted type can be long in coming."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job runs, as Modal must know it before: a function of its own for each.

    Attributes:
        mounts: Volumes.
        secrets: Names of secrets.
        resources: The machine.
    """

    mounts: tuple[Mount, ...]
    secrets: tuple[str, ...]
    resources: Resources

    @classmethod
    def of(cls, job: Job) -> Place:
        """The place of a job."""
        return cls(job.mounts, job.secrets, job.resources)

    def function_name(self, sources: tuple[str, ...] = SOURCES) -> str:
        """Name of the function: one of that name is this one, so it needs no second deployment."""
        described = json.dumps(asdict(self), sort_keys=True) + source_digest(sources)
        return f"{self.resources.kind}-{hashlib.sha256(described.encode()).hexdigest()[:8]}"


def jobs_app(name: str, places: Iterable[Place], sources: tuple[str, ...] = SOURCES) -> modal.App:
    """The app of all jobs of a release target: the same function body, in every place that jobs need.

    Args:
        name: Name of the app.
        places: Where jobs run; one that comes twice is one.
        sources: Packages that containers import.
    """
    app = modal.App(name, include_source=False)
    for place in dict.fromkeys(places):
        app.function(
            name=place.function_name(sources),
            volumes=handles.mounted(place.mounts),
            secrets=handles.secrets(place.secrets),
            timeout=round(place.resources.timeout_s),
            startup_timeout=round(JOB_STARTUP_S),
            scaledown_window=JOB_IDLE_S,
            single_use_containers=True,
            image=image_for(place.resources, sources),
            **_machine(place.resources),
        )(run_job)
    return app


def serve_app(name: str, spec: ServerSpec, replicas: Replicas, *, server_id: str, image: modal.Image) -> modal.App:
    """The app of one server: its supervisor behind Modal's web server, nothing in between.

    Args:
        name: Name of the app.
        spec: What is served.
        replicas: How many containers; a candidate's are not those of its release.
        server_id: Under which its containers tell their phase.
        image: What its containers are made from.
    """
    app = modal.App(name, include_source=False)
    web_server = modal.web_server(handles.PORT, startup_timeout=replicas.startup_timeout_s)(serve)
    app.function(
        name=handles.SERVE,
        volumes=handles.mounted(Mount(mount.name, mount.volume) for mount in spec.mounts),
        secrets=handles.secrets(spec.secrets),
        env={ORDER: _order(spec, server_id)},
        min_containers=replicas.least,
        max_containers=replicas.most,
        scaledown_window=replicas.idle_s,
        timeout=round(spec.resources.timeout_s),
        startup_timeout=round(replicas.startup_timeout_s),
        image=image,
        **_machine(spec.resources),
    )(modal.concurrent(max_inputs=replicas.at_once)(web_server))
    return app


def _order(spec: ServerSpec, server_id: str) -> str:
    """What a server's container is told; no secrets."""
    return json.dumps(
        {
            "server_id": server_id,
            "release_id": spec.release_id,
            "argv": spec.argv,
            "env": dict(spec.env),
            "paths": handles.mount_paths(spec.mounts),
            "volumes": [mount.volume for mount in spec.mounts],
            "secrets": spec.secrets,
            "stop_grace_s": spec.stop_grace_s,
        }
    )


def _machine(resources: Resources) -> dict[str, Any]:
    return {
        "gpu": resources.gpu_request,
        "cpu": resources.cpu_cores,
        "memory": resources.memory_mib,
        "include_source": False,
    }
