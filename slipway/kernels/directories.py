"""The directories in which SGLang keeps what it compiles, all below one root.

Left alone they lie in four different places. The root is the same path wherever a cache is made and used: some
compilers write it into their files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOTS: Final = Path("/var/tmp/slipway-kernels")  # noqa: S108 - below it a directory a key, made by its owner only
"""Local disk: a network volume is slow to search, and its file locks are not to be relied on."""

VARIABLES: Final[Mapping[str, str]] = {
    "SGLANG_DG_CACHE_DIR": "deep_gemm",  # DG_JIT_CACHE_DIR is overwritten by it
    "TVM_FFI_CACHE_DIR": "tvm_ffi",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "SGLANG_CACHE_DIR": "sglang",  # since 0.5.18; what it adds to the five
    "SGLANG_JIT_CACHE_DIR": "sglang_jit",  # since 0.5.18 instead of tvm-ffi's, and not below SGLANG_CACHE_DIR
}
"""Environment variable by which each is told to SGLang, and its directory."""

_NOT_KEPT: Final = (".lock", ".tmp")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells a file from one that was written in its place.

    Attributes:
        size_bytes: Its size.
        mtime_ns: When it was written, in nanoseconds since 1970.
    """

    size_bytes: int
    mtime_ns: int


def root_for(key: str, roots: Path = ROOTS) -> Path:
    """Root of the directories of one key."""
    return roots / key


def environment(root: Path) -> dict[str, str]:
    """What tells SGLang to keep its caches below a root."""
    return {name: str(root / directory) for name, directory in VARIABLES.items()}


def files_below(root: Path) -> dict[str, Stamp]:
    """Every file by its path below a root; locks and temporary files do not count."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names if not name.endswith(_NOT_KEPT)):
            relative = path.relative_to(root)
            if path.is_file() and relative.parts[:2] != ("deep_gemm", "tmp"):
                status = path.stat()
                found[relative.as_posix()] = Stamp(status.st_size, status.st_mtime_ns)
    return found


def problems(root: Path) -> list[str]:
    """What is not whole in DeepGEMM's directory: kernels without source or binary, and unfinished ones."""
    found = []
    for kernel in sorted((root / "deep_gemm" / "cache").glob("kernel.*")):
        for name in ("kernel.cu", "kernel.cubin"):
            file = kernel / name
            if not file.is_file() or not file.stat().st_size:
                found.append(f"{kernel.name} has no {name}")
    unfinished = [path for path in (root / "deep_gemm" / "tmp").rglob("*") if path.is_file()]
    return [*found, *(f"{path.name} was left in tmp" for path in sorted(unfinished))]
