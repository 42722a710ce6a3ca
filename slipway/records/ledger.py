"""The ledger: every release record of a platform, in a volume of its own."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from slipway.errors import Corrupt, Misconfigured
from slipway.gates.evidence import Evidence, read
from slipway.platforms.port import Platform, Volume
from slipway.records.check import CheckRecord
from slipway.records.record import ReleaseRecord

LEDGER_VOLUME = "slipway-ledger"
_RECORDS = "records"
_CHECKS = "checks"


class Ledger:
    """Records by release id; ids of one app sort by time."""

    def __init__(self, platform: Platform) -> None:
        self._volume: Volume = platform.volume(LEDGER_VOLUME)

    def save(self, record: ReleaseRecord) -> None:
        """Store a record, replacing its own earlier state."""
        self._volume.write(_path(record.release_id), record.model_dump_json(indent=2).encode())

    def ids(self, app: str | None = None) -> list[str]:
        """Release ids, oldest first; of one app, or of all."""
        names = [
            entry.path.removeprefix(f"{_RECORDS}/").removesuffix(".json") for entry in self._volume.entries(_RECORDS)
        ]
        return sorted(
            (n for n in names if app is None or n.rsplit(".", 1)[0] == app),
            key=lambda n: n.rsplit(".", 1)[-1],
        )

    def load(self, release_id: str) -> ReleaseRecord:
        """One record.

        Raises:
            Misconfigured: If there is none of that id.
            Corrupt: If it cannot be read.
        """
        try:
            data = self._volume.read(_path(release_id))
        except FileNotFoundError:
            raise Misconfigured(
                f"There is no release {release_id!r}.", remedy="`slipway runs` lists those there are."
            ) from None
        try:
            return ReleaseRecord.model_validate_json(data)
        except ValidationError as error:
            raise Corrupt(
                f"The record of {release_id} cannot be read: {error}.",
                remedy="It was damaged or written by a newer Slipway; remove it from the ledger, or upgrade.",
            ) from None

    def records(self, app: str | None = None) -> Sequence[ReleaseRecord]:
        """All records, oldest first."""
        return [self.load(release_id) for release_id in self.ids(app)]

    def write(self, path: str, data: bytes) -> None:
        """Store a file of evidence."""
        self._volume.write(path, data)

    def evidence(self, record: ReleaseRecord) -> Evidence:
        """What was observed of a release.

        Raises:
            Misconfigured: If nothing was.
            Corrupt: If it cannot be read.
        """
        if record.evidence and any(self._volume.entries(record.evidence)):
            return self.evidence_in(record.evidence)
        raise Misconfigured(
            f"Release {record.release_id} has no evidence: it ended before its gates.",
            remedy="`slipway runs` lists the releases and how far they came.",
        )

    def evidence_in(self, folder: str) -> Evidence:
        """What lies in a folder of evidence.

        Raises:
            Corrupt: If it cannot be read.
        """
        paths = [entry.path.removeprefix(f"{folder}/") for entry in self._volume.entries(folder)]
        return read(paths, lambda path: self._volume.read(f"{folder}/{path}"))

    def save_check(self, check: CheckRecord) -> None:
        """Store the record of a check, replacing its own earlier state."""
        path = f"{_CHECKS}/{check.check_id}.json"
        self._volume.write(path, check.model_dump_json(indent=2).encode())

    def checks(self, app: str) -> Sequence[CheckRecord]:
        """All checks of an app, oldest first."""
        names = sorted(entry.path for entry in self._volume.entries(_CHECKS))
        found = [CheckRecord.model_validate_json(self._volume.read(name)) for name in names]
        return [check for check in found if check.app == app]


def evidence_folder(release_id: str) -> str:
    """Where the evidence on a release is kept."""
    return f"evidence/{release_id}"


def log_path(release_id: str) -> str:
    """Where the log of a release's candidate is kept."""
    return f"logs/{release_id}/candidate.log"


def _path(release_id: str) -> str:
    return f"{_RECORDS}/{release_id}.json"
