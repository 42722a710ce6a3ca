"""Specifications and releases as JSON, and back.

By hand, because every job, server and request at the live address would otherwise wait for a validation
library to be imported; what is read here was written here.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from slipway.platforms.port import Mount, Release, ServerSpec
from slipway.platforms.resources import Replicas, Resources


def spec_from_json(document: dict[str, Any]) -> ServerSpec:
    """A specification as `dataclasses.asdict` and JSON left it."""
    tuples = {name: tuple(document[name]) for name in ("argv", "secrets")}
    machines = {
        "resources": Resources(**document.get("resources", {})),
        "replicas": Replicas(**document.get("replicas", {})),
    }
    mounts = tuple(Mount(**mount) for mount in document["mounts"])
    return ServerSpec(**document | tuples | machines | {"mounts": mounts})


def release_as_json(release: Release) -> dict[str, Any]:
    """One entry of the history."""
    return asdict(release) | {"promoted_at": release.promoted_at.isoformat()}


def release_from_json(document: dict[str, Any]) -> Release:
    """The same entry, read again."""
    spec = spec_from_json(document["spec"])
    return Release(**document | {"spec": spec, "promoted_at": datetime.fromisoformat(document["promoted_at"])})
