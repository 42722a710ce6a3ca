"""Which release of an app users reach, and all that there were: one file an app, replaced atomically.

    apps/<app>.json     {"live": version or null, "history": [...]}

The router reads it for every request, so replacing it is the switch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import Misconfigured
from slipway.files import locked, write_atomic
from slipway.platforms.port import Deployment, Release, ServerSpec
from slipway.platforms.records import release_as_json, release_from_json
from slipway.units import utc_now


@dataclass(frozen=True, slots=True)
class Releases:
    """The releases of one app.

    Attributes:
        live: The version users reach, None when none serves.
        history: All versions, oldest first.
    """

    live: int | None = None
    history: tuple[Release, ...] = ()

    def find(self, version: int | None) -> Release | None:
        """The release of that version, if there is one."""
        return next((release for release in self.history if release.version == version), None)

    def without(self, release: Release, *, live: int | None) -> Releases:
        """As if the release had never been, with an earlier version live again."""
        return Releases(live=live, history=tuple(other for other in self.history if other != release))

    def adding(self, deployment: Deployment, spec: ServerSpec, rolled_back_to: int | None) -> Releases:
        """A new version, which is live."""
        release = Release(
            app=deployment.app,
            version=self.history[-1].version + 1 if self.history else 1,
            release_id=deployment.release_id,
            deployment_id=deployment.deployment_id,
            url=deployment.url,
            spec=spec,
            promoted_at=utc_now(),
            rolled_back_to=rolled_back_to,
        )
        return Releases(live=release.version, history=(*self.history, release))


def read_releases(root: Path, app: str) -> Releases:
    """The releases of an app; none before the first."""
    try:
        document = json.loads(_file(root, app).read_bytes())
    except FileNotFoundError:
        return Releases()
    return Releases(document["live"], tuple(release_from_json(release) for release in document["history"]))


def change_releases(root: Path, app: str, change: Callable[[Releases], Releases]) -> Releases:
    """Read, change and replace the file; nobody else does meanwhile. The new content."""
    file = _file(root, app)
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(root / "locks" / f"{app}.releases"):
        changed = change(read_releases(root, app))
        document = {"live": changed.live, "history": [release_as_json(release) for release in changed.history]}
        write_atomic(file, json.dumps(document, indent=1).encode())
    return changed


def find_release(root: Path, app: str, version: int) -> Release:
    """An explicit version of an app.

    Raises:
        Misconfigured: When there is none of that number.
    """
    releases = read_releases(root, app)
    if release := releases.find(version):
        return release
    known = ", ".join(str(release.version) for release in releases.history) or "none"
    raise Misconfigured(f"{app} has no version {version}; there is {known}.", remedy="Name one of these.")


def _file(root: Path, app: str) -> Path:
    return root / "apps" / f"{app}.json"
