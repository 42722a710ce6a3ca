"""How fast a kernel cache is packed and unpacked, beside the tools that anybody would use, on the same files.

    make bench-kernels            82 MiB in 576 files, the size of the caches that were measured on one H100

Packing holds the GPUs, and unpacking is part of every start. Both hash each file, which `tar` does not. The ratios are
of medians over rounds in turn, so that whatever else the machine does falls on all alike; the command fails where one
is worse than it may be.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from slipway.kernels.pack import pack, unpack
from slipway.units import MIB

FILES: Final = 576
SIZE_BYTES: Final = 82 * MIB
MOST_OF_TAR: Final = {"pack": 1.5, "unpack": 2.5}
"""As often as long as `tar` with gzip's fastest level may it take: compression takes most of packing, and hashing
most of what unpacking has on top."""


def make(root: Path) -> None:
    """Files of a cache's sizes, as compressible as binaries are: half of each is text that repeats."""
    chance = np.random.default_rng(1)
    sizes = chance.lognormal(0.0, 1.5, FILES)
    for number, size in enumerate(sizes / sizes.sum() * SIZE_BYTES):
        file = root / "triton" / f"{number:04}" / "kernel.cubin"
        file.parent.mkdir(parents=True)
        half = int(size) // 2 + 1
        file.write_bytes(chance.bytes(half) + (b"kernel code %d " % number * (half // 8 + 1))[:half])


def taken(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def one_round(root: Path, place: Path) -> dict[str, float]:
    """Seconds of each, on files that are in the page cache."""
    archive, tarred = place / "pack.tar.gz", place / "tar.tar.gz"
    contents = pack(root, archive)
    tar = ["tar", "--create", "--use-compress-program=gzip -1", f"--file={tarred}", f"--directory={root}", "."]
    (place / "tar").mkdir()
    untar = ["tar", "--extract", "--gzip", f"--file={tarred}", f"--directory={place / 'tar'}"]
    seconds = {
        "pack": taken(lambda: pack(root, archive)),
        "tar, packing": taken(lambda: subprocess.run(tar, check=True)),
        "unpack": taken(lambda: unpack(archive, place / "unpacked", contents)),
        "tar, unpacking": taken(lambda: subprocess.run(untar, check=True)),
        "cp": taken(lambda: shutil.copytree(root, place / "copy")),
    }
    for left in ("tar", "unpacked", "copy"):
        shutil.rmtree(place / left)
    return seconds


def main() -> None:
    """Make the files, measure, print, and fail where it is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-kernels-") as directory:
        root = Path(directory) / "root"
        make(root)
        measured = [one_round(root, Path(directory)) for _ in range(rounds)]
        packed = (Path(directory) / "pack.tar.gz").stat().st_size
    medians = {name: statistics.median(each[name] for each in measured) for name in measured[0]}
    print(f"{SIZE_BYTES / MIB:.0f} MiB in {FILES} files, packed to {packed / MIB:.0f} MiB")
    for name, seconds in medians.items():
        print(f"  {name:<15} {seconds:6.2f} s  {SIZE_BYTES / seconds / MIB:6.0f} MiB/s")
    ratios = {
        "pack": medians["pack"] / medians["tar, packing"],
        "unpack": medians["unpack"] / medians["tar, unpacking"],
    }
    for name, ratio in ratios.items():
        print(f"{name} takes {ratio:.2f} times as long as tar (at most {MOST_OF_TAR[name]})")
    if any(ratio > MOST_OF_TAR[name] for name, ratio in ratios.items()):
        sys.exit(1)


if __name__ == "__main__":
    main()
