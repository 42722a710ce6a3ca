"""The jobs that look at the weights for less than it takes to hash them. They can refuse weights, never admit them.

    quick      sizes, every header, index, configuration: seconds for any checkpoint
    sampled    the same, some shards hashed, and ranges of others compared with the Hub's own bytes

What they find wrong is put into quarantine and READY is withdrawn; only a full verification writes it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from slipway.errors import Corrupt, Transient
from slipway.platforms.port import JobContext, Progress
from slipway.units import MIB
from slipway.weights import layout
from slipway.weights.damage import Fault, faults_of_size, refuse
from slipway.weights.disk import disk_trouble_told
from slipway.weights.hub import HubRevision, token_from
from slipway.weights.manifest import Manifest, ManifestFile
from slipway.weights.passes import SUFFIX, FileVerdict, check_file
from slipway.weights.ready import withdraw_ready
from slipway.weights.structure import check_structure

SHARDS = 3
RANGES = 8
RANGE_BYTES = 64 * MIB
_UNCERTAIN = "Run `slipway weights verify PROFILE`: the full tier tells damage on the volume from a publisher's fault."


class TierResult(BaseModel):
    """What a tier below the full one looked at, and found right."""

    model_config = ConfigDict(frozen=True)

    files: int = Field(description="Files whose size and structure were checked.")
    hashed: tuple[str, ...] = Field((), description="Files that were hashed.")
    bytes_read: int = Field(0, description="Bytes hashed or compared.")
    seconds: float = Field(description="Wall time.")


@disk_trouble_told
def quick(context: JobContext, *, manifest: dict[str, Any]) -> dict[str, Any]:
    """Check sizes and structure.

    Args:
        context: With the weights volume freshly mounted for writing as `weights`.
        manifest: What the directory shall hold, as JSON-able data.

    Returns:
        A `TierResult` as JSON-able data.

    Raises:
        Corrupt: If something is wrong that can be seen so.
    """
    began_s = time.monotonic()
    wanted = Manifest.model_validate(manifest)
    _refuse_structure(context, wanted)
    return TierResult(files=len(wanted.files), seconds=time.monotonic() - began_s).model_dump()


@disk_trouble_told
def sampled(
    context: JobContext, *, manifest: dict[str, Any], endpoint: str | None, token_env: str | None, seed: int
) -> dict[str, Any]:
    """Check structure, hash some shards, and compare ranges of other files with what the Hub sends for them.

    Args:
        context: With the weights volume freshly mounted for writing as `weights`.
        manifest: What the directory shall hold, as JSON-able data.
        endpoint: Base URL of the Hub; None for the client's default.
        token_env: Environment variable with the Hub's token; None: without one.
        seed: Decides what is looked at; another one each time looks elsewhere.

    Returns:
        A `TierResult` as JSON-able data.

    Raises:
        Corrupt: If something is wrong.
        Misconfigured: If the Hub refuses.
        Transient: If it cannot be reached.
    """
    began_s = time.monotonic()
    wanted = Manifest.model_validate(manifest)
    chance = random.Random(seed)  # noqa: S311 - a sample, not a secret
    model_dir = _refuse_structure(context, wanted)
    shards = [file for file in wanted.files if file.path.endswith(SUFFIX)]
    chosen = set(chance.sample([file.path for file in shards], min(SHARDS, len(shards))))
    to_hash = [file for file in wanted.files if file.path in chosen or file not in shards]
    rest = [file for file in shards if file.path not in chosen and file.size_bytes]
    to_compare = chance.choices(rest, weights=[file.size_bytes for file in rest], k=RANGES) if rest else []
    verdicts = []
    for number, file in enumerate(to_hash):
        context.progress(Progress(number, len(to_hash) + len(to_compare), "files", f"hashing {file.path}"))
        verdicts.append(check_file(model_dir, file, seed=wanted.digest, saw=lambda _count: None))
    revision = HubRevision(wanted.repo, wanted.commit, endpoint, token_from(token_env))
    compared = 0
    for number, file in enumerate(to_compare, start=len(to_hash)):
        context.progress(Progress(number, len(to_hash) + len(to_compare), "files", f"comparing {file.path}"))
        begin = chance.randrange(0, file.size_bytes, RANGE_BYTES)
        end = min(begin + RANGE_BYTES, file.size_bytes)
        compared += end - begin
        if _bytes_at(model_dir / file.path, begin, end) != revision.read(file.path, begin, end):
            verdicts.append(_confirmed(model_dir, wanted, file))
    _refuse(context, model_dir, wanted, [Fault(v.path, str(v)) for v in verdicts if not v.right])
    return TierResult(
        files=len(wanted.files),
        hashed=tuple(file.path for file in to_hash),
        bytes_read=compared + sum(file.size_bytes for file in to_hash),
        seconds=time.monotonic() - began_s,
    ).model_dump()


def _refuse_structure(context: JobContext, wanted: Manifest) -> Path:
    """Check sizes and structure; the model's directory."""
    model_dir = context.mounts[layout.MOUNT].path / layout.model_path(wanted)
    _refuse(context, model_dir, wanted, faults_of_size(wanted, layout.sizes_on_disk(model_dir)))
    try:
        check_structure(model_dir, wanted)
    except Corrupt as error:
        withdraw_ready(model_dir)
        context.mounts[layout.MOUNT].commit()
        raise Corrupt(error.message, remedy=_UNCERTAIN) from error
    return model_dir


def _refuse(context: JobContext, model_dir: Path, wanted: Manifest, faults: list[Fault]) -> None:
    try:
        refuse(model_dir, wanted, faults)
    except Corrupt:
        withdraw_ready(model_dir)
        context.mounts[layout.MOUNT].commit()
        raise


def _bytes_at(path: Path, begin: int, end: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(begin)
        return stream.read(end - begin)


def _confirmed(model_dir: Path, wanted: Manifest, file: ManifestFile) -> FileVerdict:
    """The digest decides between the volume and what the Hub has just sent.

    Raises:
        Transient: If the volume is right.
    """
    verdict = check_file(model_dir, file, seed=wanted.digest, saw=lambda _count: None)
    if verdict.right:
        raise Transient(
            f"For {file.path} the Hub sent other bytes than it published; the volume holds those it published.",
            remedy="Run again; if it stays so, something between here and the Hub answers in its place.",
        )
    return verdict
