"""The jobs that read every byte of the weights back, from a fresh mount, and compare it with the manifest.

    verify            all of it in one job
    verify_part       some files: parts are given to as many jobs as one likes
    conclude          what all parts found, taken together

What differs is put into quarantine, so that the next sync fetches just that. Only when every file is there
with its digest, nothing else is, headers, index and configuration agree and the numbers are sane, the READY
marker is written, as the last thing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from slipway.errors import Corrupt
from slipway.platforms.port import JobContext, MountedVolume, Progress
from slipway.weights import layout, resume
from slipway.weights.damage import SHOWN, Fault, faults_of_size, refuse
from slipway.weights.disk import disk_trouble_told
from slipway.weights.manifest import RESERVED, Manifest, ManifestFile
from slipway.weights.passes import FileVerdict, check_file
from slipway.weights.ready import mark_ready, withdraw_ready
from slipway.weights.structure import check_structure
from slipway.weights.windows import THREADS

PROGRESS_EVERY_S = 0.5
VERDICTS_FILE = f"{RESERVED}/verdicts.json"

Verdicts = TypeAdapter(tuple[FileVerdict, ...])


class VerifyResult(BaseModel):
    """What a verification read."""

    model_config = ConfigDict(frozen=True)

    files: int = Field(description="Files hashed, every one right.")
    bytes_hashed: int = Field(description="Bytes read back.")
    seconds: float = Field(description="Wall time.")
    bytes_per_s: float = Field(description="Rate of hashing, reading included.")


@disk_trouble_told
def verify(context: JobContext, *, manifest: dict[str, Any]) -> dict[str, Any]:
    """Prove that the directory holds exactly what the manifest says; resumes a run that was killed.

    Args:
        context: With the weights volume freshly mounted for writing as `weights`.
        manifest: What the directory shall hold, as JSON-able data.

    Returns:
        A `VerifyResult` as JSON-able data.

    Raises:
        Corrupt: If any file differs, after it was put into quarantine; or if the checkpoint is inconsistent
            as published.
    """
    began_s = time.monotonic()
    wanted = Manifest.model_validate(manifest)
    mount = context.mounts[layout.MOUNT]
    model_dir = mount.path / layout.model_path(wanted)
    hashed = _hash(context, wanted, [file.path for file in wanted.files], part=0)
    hashed_s = time.monotonic() - began_s
    _conclude(mount, model_dir, wanted, hashed.found)
    return VerifyResult(
        files=len(wanted.files),
        bytes_hashed=hashed.bytes_read,
        seconds=time.monotonic() - began_s,
        bytes_per_s=hashed.bytes_read / max(hashed_s, 1e-9),
    ).model_dump()


@disk_trouble_told
def verify_part(
    context: JobContext, *, manifest: dict[str, Any], paths: Sequence[str], part: int
) -> list[dict[str, Any]]:
    """Read some of the files; what was found is for `conclude`. Resumes a run that was killed.

    Args:
        context: With the weights volume freshly mounted for writing as `weights`: this part's state is kept there.
        manifest: What the directory shall hold, as JSON-able data.
        paths: The files of this part.
        part: Its number.

    Returns:
        A `FileVerdict` of every file that is there with its size, as JSON-able data.
    """
    found = _hash(context, Manifest.model_validate(manifest), paths, part=part).found
    return [verdict.model_dump() for verdict in found.values()]


@disk_trouble_told
def conclude(context: JobContext, *, manifest: dict[str, Any], verdicts: Sequence[dict[str, Any]]) -> int:
    """Judge what all parts found, and mark the weights ready if all is right.

    Args:
        context: With the weights volume freshly mounted for writing as `weights`.
        manifest: What the directory shall hold, as JSON-able data.
        verdicts: From all parts.

    Returns:
        Number of files that were verified.

    Raises:
        Corrupt: As `verify` does.
    """
    wanted = Manifest.model_validate(manifest)
    mount = context.mounts[layout.MOUNT]
    found = {verdict.path: verdict for verdict in Verdicts.validate_python(verdicts)}
    _conclude(mount, mount.path / layout.model_path(wanted), wanted, found)
    return len(wanted.files)


def parts(wanted: Manifest, count: int) -> list[list[str]]:
    """The files in at most `count` parts of about equal size: each file goes to the part that is smallest then."""
    shares: list[tuple[int, list[str]]] = [(0, []) for _ in range(count)]
    for file in sorted(wanted.files, key=lambda file: -file.size_bytes):
        size_bytes, paths = shares[0]
        shares[0] = (size_bytes + file.size_bytes, [*paths, file.path])
        shares.sort(key=lambda share: share[0])
    return [paths for _, paths in shares if paths]


def _of_right_size(model_dir: Path, wanted: Manifest) -> list[ManifestFile]:
    sizes = layout.sizes_on_disk(model_dir)
    return [file for file in wanted.files if sizes.get(file.path) == file.size_bytes]


@dataclass(frozen=True, slots=True)
class _Hashed:
    """Verdicts by path, and how much was read for them now."""

    found: dict[str, FileVerdict]
    bytes_read: int


def _hash(context: JobContext, wanted: Manifest, paths: Iterable[str], *, part: int) -> _Hashed:
    """Read files side by side, the largest first, but for those that an interrupted run had read."""
    mount = context.mounts[layout.MOUNT]
    model_dir = mount.path / layout.model_path(wanted)
    mine = set(paths)
    there = [file for file in _of_right_size(model_dir, wanted) if file.path in mine]
    found = {path: verdict for path, verdict in resume.hashed_before(model_dir, wanted).items() if path in mine}
    rest = sorted((file for file in there if file.path not in found), key=lambda file: -file.size_bytes)
    keeper = resume.StateKeeper(mount, model_dir, wanted, part=part)
    total = sum(file.size_bytes for file in there)
    to_read = sum(file.size_bytes for file in rest)
    counter = _Counter(total - to_read)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="hash") as pool:
        pending = {pool.submit(check_file, model_dir, file, seed=wanted.digest, saw=counter.add) for file in rest}
        while pending:
            done, pending = wait(pending, timeout=PROGRESS_EVERY_S, return_when=FIRST_COMPLETED)
            found |= {verdict.path: verdict for verdict in (future.result() for future in done)}
            context.progress(Progress(counter.value, total, "bytes", f"hashing {len(there)} files"))
            keeper.save_now_and_then(found)
    return _Hashed(found, to_read)


class _Counter:
    """A sum that several threads add to."""

    def __init__(self, value: int) -> None:
        self.value = value
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.value += count


def _conclude(mount: MountedVolume, model_dir: Path, wanted: Manifest, found: Mapping[str, FileVerdict]) -> None:
    """Judge; the state of an interrupted run is dropped in any case, and READY is withdrawn or written."""
    resume.drop(model_dir)
    try:
        refuse(model_dir, wanted, [*faults_of_size(wanted, layout.sizes_on_disk(model_dir)), *_wrong(found.values())])
        _require_all_read(wanted, found)
        check_structure(model_dir, wanted, {path: verdict.header_sha256 for path, verdict in found.items()})
        _require_sane_numbers(wanted, found.values())
    except Corrupt:
        withdraw_ready(model_dir)
        mount.commit()
        raise
    layout.write_sealed(model_dir / VERDICTS_FILE, Verdicts.dump_json(tuple(found.values()), indent=1))
    mark_ready(model_dir, wanted)
    mount.commit()


def _wrong(found: Iterable[FileVerdict]) -> list[Fault]:
    return [Fault(verdict.path, str(verdict)) for verdict in sorted(found, key=lambda v: v.path) if not verdict.right]


def _require_all_read(wanted: Manifest, found: Mapping[str, FileVerdict]) -> None:
    """A part that was forgotten, or files that came while parts were read, are not verified."""
    digests = {file.path: file.sha256 or file.git_blob_id for file in wanted.files}
    unread = sorted(path for path in digests if path not in found or found[path].got != digests[path])
    if unread:
        raise Corrupt(
            f"{len(unread)} files of {wanted.repo}@{wanted.commit[:12]} were not read back, {unread[0]} among them.",
            remedy="Run again: something wrote to the volume meanwhile.",
        )


def _require_sane_numbers(wanted: Manifest, found: Iterable[FileVerdict]) -> None:
    odd = [f"{oddity} ({verdict.path})" for verdict in found for oddity in verdict.oddities]
    if odd:
        more = f"; and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        raise Corrupt(
            f"{wanted.repo}@{wanted.commit[:12]} holds numbers no model can use: {'; '.join(odd[:SHOWN])}{more}.",
            remedy="The files are as published, so fetching again cannot help: pin another commit, tell the publisher.",
        )
