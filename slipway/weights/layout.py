"""Where things lie in the weights volume.

    models/<org>--<name>/<commit>/            exactly the Hub's files
    models/<org>--<name>/<commit>/.slipway/   manifest.json, ready.json, quarantine/, incoming/

Revisions lie side by side. `incoming` is there while a sync runs, and after one that did not come to its end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from slipway.files import write_atomic
from slipway.weights.manifest import RESERVED, Manifest

MOUNT = "weights"
"""The name under which jobs and servers mount the weights volume."""

MODELS = "models"
"""The directory of all revisions in the volume."""

SEALED = 0o444
"""Mode of a finished file: nothing writes into it again, so platforms may share it between snapshots."""

READY_FILE = f"{RESERVED}/ready.json"


CLIENTS = ".cache/huggingface"
"""Where the Hub's client notes what it has fetched to a directory; `hf download --local-dir` leaves it there."""


def model_path(manifest: Manifest) -> str:
    """The model's directory, relative to the volume."""
    return f"{MODELS}/{manifest.repo.replace('/', '--')}/{manifest.commit}"


def manifest_file(model_dir: Path) -> Path:
    """What the directory should hold."""
    return model_dir / RESERVED / "manifest.json"


def ready_file(model_dir: Path) -> Path:
    """The marker of a finished verification."""
    return model_dir / READY_FILE


def quarantine_dir(model_dir: Path) -> Path:
    """Where files lie that verification found to be wrong."""
    return model_dir / RESERVED / "quarantine"


def incoming_dir(model_dir: Path) -> Path:
    """Where files are on their way; what a killed sync left there is gone on from."""
    path = model_dir / RESERVED / "incoming"
    path.mkdir(parents=True, exist_ok=True)
    return path


def sizes_on_disk(model_dir: Path) -> dict[str, int]:
    """Size by path of all but Slipway's and the Hub client's own; -1 for what is no regular file, as a symlink."""
    sizes = {}
    passed_over = {model_dir / RESERVED, model_dir / CLIENTS}
    for folder, subfolders, names in os.walk(model_dir):
        subfolders[:] = [name for name in subfolders if Path(folder, name) not in passed_over]
        links = [name for name in subfolders if Path(folder, name).is_symlink()]
        for path in (Path(folder, name) for name in [*names, *links]):
            status = path.lstat()
            size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else -1
            sizes[path.relative_to(model_dir).as_posix()] = size_bytes
    return sizes


def write_sealed(path: Path, data: bytes) -> None:
    """Write one of Slipway's own files, read-only, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, mode=SEALED)
