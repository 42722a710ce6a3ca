"""Which revisions of weights an app's volume holds, and taking away those that nobody serves or goes back to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from slipway.errors import Busy, Corrupt
from slipway.platforms.port import Platform, Volume
from slipway.profile import Profile
from slipway.records.ledger import Ledger
from slipway.stages.planning import weights_volume
from slipway.stages.release import version_before
from slipway.stages.weights import lease_of
from slipway.weights.layout import MODELS, READY_FILE
from slipway.weights.manifest import RESERVED, Manifest
from slipway.weights.ready import Ready

_MANIFEST_FILE = f"/{RESERVED}/manifest.json"
_IN_COMMAND = re.compile(rf"{MODELS}/[^/\s]+/([0-9a-f]{{40}})")


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision as it lies in a volume.

    Attributes:
        path: Its directory in the volume.
        size_bytes: What it takes, quarantine and partial files included.
        manifest: What it should hold; None where that cannot be read.
        missing: How many files are not there with their size.
        quarantined: How many files were found to be wrong, and kept as evidence.
        verified_at: When every byte was right; None if READY is not there for this manifest.
    """

    path: str
    size_bytes: int
    manifest: Manifest | None
    missing: int
    quarantined: int
    verified_at: datetime | None

    @property
    def commit(self) -> str:
        """Commit of the weights, which is the directory's name."""
        return self.path.rpartition("/")[2]


def revisions(volume: Volume) -> list[Revision]:
    """Every revision in a volume, the one that was verified last first, those never verified at the end."""
    sizes: dict[str, dict[str, int]] = {}
    for entry in volume.entries(MODELS):
        parts = entry.path.split("/")
        sizes.setdefault("/".join(parts[:3]), {})["/".join(parts[3:])] = entry.size_bytes
    found = [_revision(volume, path, inside) for path, inside in sizes.items()]
    return sorted(found, key=lambda one: (one.verified_at is None, _age(one), one.path))


def _age(revision: Revision) -> float:
    return -revision.verified_at.timestamp() if revision.verified_at else 0.0


def _revision(volume: Volume, path: str, sizes: dict[str, int]) -> Revision:
    manifest = _manifest(volume, path)
    quarantine = f"{RESERVED}/quarantine/"
    missing = len(manifest.missing_from(sizes)) if manifest else 0
    return Revision(
        path=path,
        size_bytes=sum(sizes.values()),
        manifest=manifest,
        missing=missing,
        quarantined=sum(name.startswith(quarantine) for name in sizes),
        verified_at=_verified_at(volume, path, manifest) if manifest and not missing else None,
    )


def _manifest(volume: Volume, path: str) -> Manifest | None:
    try:
        return Manifest.from_json(volume.read(path + _MANIFEST_FILE))
    except (FileNotFoundError, Corrupt):
        return None


def _verified_at(volume: Volume, path: str, manifest: Manifest) -> datetime | None:
    try:
        ready = Ready.model_validate_json(volume.read(f"{path}/{READY_FILE}"))
    except (FileNotFoundError, ValidationError):
        return None
    return ready.verified_at if ready.manifest_digest == manifest.digest else None


def needed(platform: Platform, profile: Profile) -> set[str]:
    """Commits that must stay: the live release's, that of the release it would be rolled back to, the profile's own.

    A release's commit is what its record says, and what its command line names: a record may be lost.
    """
    live = platform.live(profile.app)
    serving = [release for release in (live, live and version_before(platform, live)) if release]
    recorded = {record.release_id: record.commit for record in Ledger(platform).records(profile.app)}
    return (
        {profile.model.revision}
        | {recorded[release.release_id] for release in serving if release.release_id in recorded}
        | {commit for release in serving for commit in _IN_COMMAND.findall(" ".join(release.spec.argv))}
    )


def to_prune(there: Sequence[Revision], *, keep: int, needed: set[str]) -> list[Revision]:
    """Revisions beyond the first `keep`, without those that are needed."""
    return [revision for revision in there[keep:] if revision.commit not in needed]


def prune(platform: Platform, profile: Profile, *, keep: int) -> list[Revision]:
    """Remove old revisions; what was removed. One that is being written stays.

    Raises:
        Busy: If a run of the app is under way.
    """
    volume = platform.volume(weights_volume(profile))
    with platform.exclusive(profile.app):
        gone = to_prune(revisions(volume), keep=keep, needed=needed(platform, profile))
        return [revision for revision in gone if _removed(platform, profile, volume, revision)]


def _removed(platform: Platform, profile: Profile, volume: Volume, revision: Revision) -> bool:
    """Remove a revision, unless somebody is writing it."""
    try:
        with platform.exclusive(lease_of(profile, revision.commit)):
            volume.remove(revision.path)
    except Busy:
        return False
    return True
