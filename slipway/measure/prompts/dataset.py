"""The file that a suite's questions come from: pinned by commit and SHA-256, read without any network.

`slipway datasets sync` brings it into the volume `slipway-datasets`; the variable `SLIPWAY_DATASETS` names the
directory where that volume is seen.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from slipway.errors import Corrupt, Misconfigured
from slipway.profile.workloads import DatasetFile

DIRECTORY_VARIABLE: Final = "SLIPWAY_DATASETS"

Row = Mapping[str, Any]


def path_of(file: DatasetFile) -> str:
    """Where it lies below the datasets' directory."""
    return f"{file.repo}/{file.revision}/{file.path}"


def read_rows(file: DatasetFile, columns: Sequence[str]) -> list[Row]:
    """All rows, each with at least these columns.

    Raises:
        Misconfigured: If the file is not there, or is no table with these columns.
        Corrupt: If it is not the file that was pinned.
    """
    data = read_checked(file)
    try:
        rows = _READERS[PurePosixPath(file.path).suffix](data)
    except (pa.ArrowException, ValueError, KeyError, csv.Error) as error:
        raise _no_table(file, f"cannot be read ({error})") from None
    if missing := [name for name in columns if any(name not in row for row in rows)]:
        raise _no_table(file, f"has rows without {missing[0]!r}")
    return rows


def read_checked(file: DatasetFile) -> bytes:
    """Its bytes, compared with the SHA-256 that is pinned.

    Raises:
        Misconfigured: If the file is not there.
        Corrupt: If it is not the file that was pinned.
    """
    directory = os.environ.get(DIRECTORY_VARIABLE)
    try:
        data = (Path(directory or "") / path_of(file)).read_bytes() if directory else None
    except OSError:
        data = None
    if data is None:
        raise Misconfigured(
            f"The dataset {file.repo} is not on this machine: {file.path} at commit {file.revision[:12]}.",
            remedy="Run `slipway datasets sync PROFILE` where the Hub can be reached.",
        )
    check(file, data)
    return data


def check(file: DatasetFile, data: bytes) -> None:
    """Compare bytes with the SHA-256 that is pinned.

    Raises:
        Corrupt: If they differ.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise Corrupt(
            f"{file.path} of {file.repo} has SHA-256 {found[:12]}…, pinned is {file.sha256[:12]}….",
            remedy="Run `slipway datasets sync PROFILE` again; if it stays so, the repository is not the pinned one.",
        )


def _parquet(data: bytes) -> list[Row]:
    rows: list[Row] = pq.ParquetFile(io.BytesIO(data)).read(use_threads=False).to_pylist()
    return rows


def _jsonl(data: bytes) -> list[Row]:
    return [orjson.loads(line) for line in data.splitlines() if line.strip()]


def _csv(data: bytes) -> list[Row]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


_READERS: Final = {".parquet": _parquet, ".jsonl": _jsonl, ".csv": _csv}


def _no_table(file: DatasetFile, what: str) -> Misconfigured:
    return Misconfigured(
        f"{file.path} of {file.repo} {what}.",
        remedy="Name a file of the suite's own format in the workload's `dataset`, or leave it out.",
    )
