"""A kernel cache as one archive: thousands of small files travel as one, and keep the times they were built at.

Build tools compare times to the nanosecond: ninja builds an object again that is newer than it has noted. An archive
keeps times as decimals, of which some come back later, by 80 nanoseconds and half a minute of compiling. So times are
cut to whole seconds: earlier than noted is well, and what came later than another still does not come before it.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from slipway.errors import Corrupt
from slipway.kernels.cache import CachedFile
from slipway.kernels.directories import files_below

COMPRESSION: Final = 1
"""Hardly larger than at level 6, and several times faster: the GPUs wait while it is packed."""


def describe(path: Path) -> CachedFile:
    """Size and digest of a file."""
    with path.open("rb") as file:
        return CachedFile(size_bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def pack(root: Path, archive: Path) -> dict[str, CachedFile]:
    """Write all files below a root into an archive.

    Returns:
        Size and digest of each file by its path below the root.
    """
    contents = {}
    with tarfile.open(archive, "w:gz", compresslevel=COMPRESSION) as tar:
        for path in sorted(files_below(root)):
            contents[path] = describe((root / path).resolve())
            entry = tar.gettarinfo(str((root / path).resolve()), arcname=path)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = int(entry.mtime)
            with (root / path).open("rb") as file:
                tar.addfile(entry, file)
    return contents


def unpack(archive: Path, root: Path, contents: Mapping[str, CachedFile]) -> None:
    """Unpack an archive into a root that is made for it.

    The files appear at once or not at all, and each is compared with what was packed.

    Raises:
        Corrupt: If a file is missing, is one too many, or has other bytes.
    """
    incoming = root.with_name(f".{root.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True, mode=0o700)
    try:
        wrong = _extract(archive, incoming, contents)
        if wrong:
            raise Corrupt(
                f"The kernel cache {archive.name} does not hold what its manifest says: {', '.join(wrong[:5])}.",
                remedy="Remove it from the kernel volume; the next run makes it again.",
            )
        shutil.rmtree(root, ignore_errors=True)
        incoming.rename(root)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _extract(archive: Path, target: Path, contents: Mapping[str, CachedFile]) -> list[str]:
    """Extract, and hash each file; paths of files that are not as they should be."""
    wrong = dict.fromkeys(contents)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                expected = contents.get(entry.name)
                if expected is None or not entry.isreg():
                    return [entry.name]
                tar.extract(entry, target, filter="data")
                # From disk: to read it in the archive again would mean to decompress all before it again.
                if describe(target / entry.name) == expected:
                    del wrong[entry.name]
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        return [f"{archive.name} ({type(error).__name__})"]
    return list(wrong)
