"""What is compiled when, and how it lies on disk."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import time
from pathlib import Path

FAULT = os.environ.get("SGLANG_DOUBLE", "")
IMAGE = os.environ.get("SGLANG_DOUBLE_IMAGE", "image-a")
SHAPES = ((2624, 2048), (2048, 2048), (128, 2048), (3584, 512), (4096, 2048))
PER_SHAPE = 4
GRAPH_KERNELS = 11  # the same products on half of the multiprocessors: only graphs need them
COMPILE_S = 0.01
ROUNDED_UP_NS = 1_795_377_085_980_923_819  # as a decimal it comes back later


def say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def log(text: str) -> None:
    say(f"{time.strftime('[%Y-%m-%d %H:%M:%S]')} {text}\n")


def deep_gemm(name: str, code: str) -> bool:
    """Compile a kernel unless it is there: in tmp, then renamed; whether it was compiled."""
    root = Path(os.environ["SGLANG_DG_CACHE_DIR"])
    digest = hashlib.md5(f"{name} {code} {IMAGE}".encode(), usedforsecurity=False).hexdigest()
    done = root / "cache" / f"kernel.{name}.{digest}"
    if done.is_dir():
        return False
    if FAULT == "disk-full":
        raise OSError(errno.ENOSPC, "No space left on device", str(done))
    time.sleep(COMPILE_S)
    building = root / "tmp" / f"{os.getpid()}.{digest}"
    building.mkdir(parents=True)
    (building / "kernel.cu").write_text(code)
    (building / "kernel.cubin").write_text("" if FAULT == "half-written" else f"cubin of {code}")
    done.parent.mkdir(exist_ok=True)
    building.rename(done)
    return True


def other(variable: str, path: str) -> None:
    """What Triton and Inductor compile."""
    file = Path(os.environ[variable], path)
    if not file.exists():
        time.sleep(COMPILE_S)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{path} {IMAGE}")


def ninja(variable: str, path: str) -> None:
    """What tvm-ffi and FlashInfer have ninja build: again if it is newer than ninja has noted, by a nanosecond even."""
    file = Path(os.environ[variable], path)
    noted = file.with_name(".ninja_deps")
    if not file.exists() or file.stat().st_mtime_ns > int(noted.read_text()):
        other(variable, path)
        file.write_text(f"{path} {IMAGE}")
        os.utime(file, ns=(ROUNDED_UP_NS, ROUNDED_UP_NS))
        noted.write_text(str(file.stat().st_mtime_ns))


def shape(n: int, k: int, *, serving: bool) -> None:
    if serving:
        log("Entering DeepGEMM JIT Pre-Compile session. It may take a long time (typically 10-20 mins) if you have …")
    log(f"Try DeepGEMM JIT Compiling for <GEMM_NT_F8F8BF16> N={n}, K={k}, num_groups=1 with all Ms.")
    log("Required memory for warmup: 0.015625GB, Available memory: 29.2650146484375GB")
    for number in range(PER_SHAPE):
        done = 1536 * number // PER_SHAPE
        say(f"\rDeepGEMM warmup: {100 * done // 1536:3d}%|██   | {done}/1536 [00:0{number}<00:09, 15.53it/s]")
        deep_gemm("sm90_fp8_gemm_1d2d", f"block {number} of {n if n > 2624 else 2048}x{k}")
    say("\rDeepGEMM warmup: 100%|█████| 1536/1536 [00:04<00:00, 15.53it/s]\n")


def graphs() -> None:
    """A product's second variant, and the indexer's kernels."""
    for number in range(GRAPH_KERNELS):
        deep_gemm("sm90_fp8_gemm_1d2d", f"half, block {number}")
    deep_gemm("smxx_fp8_paged_mqa_logits", "decode")
    for path in ("fused_moe/1/kernel.cubin", "rope/2/kernel.cubin"):
        other("TRITON_CACHE_DIR", path)
    ninja("FLASHINFER_WORKSPACE_BASE", ".cache/flashinfer/0.6.11/90a/cached_ops/norm/norm.so")
    other("TORCHINDUCTOR_CACHE_DIR", "ab/cab.py")


def request(*, tokens: int, sampled: bool, running: int) -> None:
    """What the first request of each kind compiles."""
    if sampled:
        ninja("FLASHINFER_WORKSPACE_BASE", ".cache/flashinfer/0.6.11/90a/cached_ops/sampling/sampling.so")
    if tokens > 2048:
        deep_gemm("smxx_fp8_mqa_logits", "prefill")
    if running > 4:
        ninja("TVM_FFI_CACHE_DIR", "set_mla_kv_buffer/main.so")
    other("TRITON_CACHE_DIR", f"{running}/alloc_extend_kernel.cubin")
