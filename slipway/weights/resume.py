"""What an interrupted verification had hashed already.

Only an interrupted one: whoever comes to an end, for good or ill, drops this file, and the next one reads
every byte again. A verdict counts while the file has the size and the time of change it had when it was read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from slipway.errors import Transient
from slipway.platforms.port import MountedVolume
from slipway.weights import layout
from slipway.weights.manifest import RESERVED, Manifest
from slipway.weights.passes import FileVerdict

SAVE_EVERY_S = 30.0
_STATE = "verifying"


class _State(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest_digest: str
    verdicts: tuple[FileVerdict, ...]


def state_file(model_dir: Path, part: int) -> Path:
    """Where the state of one part is, while a verification runs and after one was killed."""
    return model_dir / RESERVED / f"{_STATE}-{part}.json"


def hashed_before(model_dir: Path, wanted: Manifest) -> dict[str, FileVerdict]:
    """Verdicts by path of an interrupted run over this manifest, of files that are right and have not changed.

    All its parts' count, whichever part asks: the next run may be divided otherwise.
    """
    known = {file.path: file for file in wanted.files}
    return {
        verdict.path: verdict
        for file in sorted(_states(model_dir))
        for verdict in _verdicts(file, wanted)
        if verdict.path in known
        and verdict.got == (known[verdict.path].sha256 or known[verdict.path].git_blob_id)
        and _unchanged(model_dir, verdict)
    }


def _verdicts(file: Path, wanted: Manifest) -> tuple[FileVerdict, ...]:
    try:
        state = _State.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return ()
    return state.verdicts if state.manifest_digest == wanted.digest else ()


def _states(model_dir: Path) -> Iterator[Path]:
    return (model_dir / RESERVED).glob(f"{_STATE}-*.json")


def _unchanged(model_dir: Path, verdict: FileVerdict) -> bool:
    try:
        status = (model_dir / verdict.path).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (verdict.size_bytes, verdict.mtime_ns)


def drop(model_dir: Path) -> None:
    """The run came to an end: nobody resumes it."""
    for file in _states(model_dir):
        file.unlink(missing_ok=True)


class StateKeeper:
    """Saves and commits the state of one part now and then."""

    def __init__(self, mount: MountedVolume, model_dir: Path, wanted: Manifest, *, part: int) -> None:
        self._mount = mount
        self._file = state_file(model_dir, part)
        self._digest = wanted.digest
        self._not_before_s = time.monotonic() + SAVE_EVERY_S

    def save_now_and_then(self, verdicts: Mapping[str, FileVerdict]) -> None:
        """Save what has been found so far, if the last time was long enough ago."""
        if time.monotonic() < self._not_before_s:
            return
        state = _State(manifest_digest=self._digest, verdicts=tuple(verdicts.values()))
        layout.write_sealed(self._file, state.model_dump_json().encode())
        with suppress(Transient):  # a commit that meets another's; the next one will do
            self._mount.commit()
        self._not_before_s = time.monotonic() + SAVE_EVERY_S
