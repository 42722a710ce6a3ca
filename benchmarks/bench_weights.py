"""How fast weights are verified: beside the bare hash and the tools people use, from disk, and a big layout at once.

    make bench-weights            8 GiB of dense shards, and 142 sparse ones of 756 GB apparent size

`hash` is SHA-256 over a buffer that stays in cache, on every core at once: what `openssl speed` measures, and what
no verification can beat. The others read the same files, from page cache; medians over rounds in turn, so that
whatever else the machine does falls on all alike. Before each of them the files are read once, not counted: systems
take pages back from files that nobody has read for a while, and whoever came next would pay for that. `from disk` comes
after the page cache was told to forget the files. Ratios by CPU-seconds are those that a busy machine disturbs
least. Peak memory is that of the verifying process, with all it has mapped, as Linux tells it of this program alone
(`ru_maxrss` begins with what the parent had).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from huggingface_hub.utils._verification import verify_maps

from slipway.units import GIB, MIB
from slipway.weights import layout
from slipway.weights.architecture import GlmMoeDsaConfig, required
from slipway.weights.estimate import Rates, verification
from slipway.weights.manifest import Manifest, ManifestFile
from slipway.weights.numerics import SCALE_SUFFIX, scale_shape

CORES = os.cpu_count() or 1
ELEMENT_BYTES = {"F8_E4M3": 1, "BF16": 2, "F32": 4}
COMMIT = "0" * 40
BIG_SHARDS = 142
CHILD = """
import json, re, sys, time
from pathlib import Path
from types import SimpleNamespace
from slipway.platforms.port import JobContext
from slipway.weights import tiers, verify
manifest = json.loads(Path(sys.argv[2]).read_text())
mount = SimpleNamespace(path=Path(sys.argv[1]), commit=lambda: None)
job = {"verify": verify.verify, "quick": tiers.quick}[sys.argv[3]]
began_s = time.process_time()
found = job(JobContext({"weights": mount}, lambda _progress: None), manifest=manifest)
found["cpu_s"] = time.process_time() - began_s
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps(found | {"peak_bytes": peak}))
"""
BIG_CONFIG = {
    "model_type": "glm_moe_dsa",
    "vocab_size": 154880,
    "hidden_size": 6144,
    "intermediate_size": 12288,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 78,
    "num_nextn_predict_layers": 1,
    "first_k_dense_replace": 3,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 64,
    "q_lora_rank": 2048,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 192,
    "qk_rope_head_dim": 64,
    "v_head_dim": 256,
    "index_n_heads": 32,
    "index_head_dim": 128,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
"""Sizes of GLM-5.1: about 754e9 parameters."""

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def header_of(tensors: Tensors) -> tuple[bytes, int]:
    """A shard's header with its length before it, and the bytes that must follow."""
    entries, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + int(np.prod(shape)) * ELEMENT_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text, end


def write_dense(model_dir: Path, shards: int, shard_bytes: int) -> Manifest:
    """Shards of expert weights with random codes and scales, and their manifest."""
    generator = np.random.default_rng(1)
    codes = generator.integers(0, 0x7F, 64 * MIB, np.uint8).tobytes()
    shape = (2048, 6144)
    scales = generator.uniform(2**-12, 2**-8, scale_shape(shape)).astype("<f4").tobytes()
    experts = shard_bytes // (shape[0] * shape[1] + len(scales))
    files = []
    for number in range(shards):
        tensors: Tensors = {}
        for expert in range(experts):
            name = f"model.layers.{number}.mlp.experts.{expert}.up_proj.weight"
            tensors |= {name: ("F8_E4M3", shape), name + SCALE_SUFFIX: ("F32", scale_shape(shape))}
        header, _ = header_of(tensors)
        path = model_dir / f"model-{number:05}.safetensors"
        digest = hashlib.sha256()
        with path.open("wb") as stream:
            for part in (header, *(part for n in range(experts) for part in (_cut(codes, n, shape), scales))):
                stream.write(part)
                digest.update(part)
            os.fsync(stream.fileno())
        files.append(ManifestFile(path=path.name, size_bytes=path.stat().st_size, sha256=digest.hexdigest()))
    return Manifest(repo="bench/dense", commit=COMMIT, files=tuple(files))


def _cut(codes: bytes, number: int, shape: tuple[int, int]) -> memoryview:
    begin = number * 4099 % (len(codes) - shape[0] * shape[1])
    return memoryview(codes)[begin : begin + shape[0] * shape[1]]


def write_sparse(model_dir: Path) -> Manifest:
    """142 shards with the headers of the big model and holes for payload; digests are never looked at."""
    config = GlmMoeDsaConfig.model_validate(BIG_CONFIG)
    tensors: Tensors = {}
    for name, shape in required(config):
        if len(shape) == 2 and "proj" in name and "weights_proj" not in name and "eh_proj" not in name:
            tensors |= {name: ("F8_E4M3", shape), name + SCALE_SUFFIX: ("F32", scale_shape(shape))}
        else:
            tensors[name] = ("BF16", shape)
    names = list(tensors)
    per_shard = -(-len(names) // BIG_SHARDS)
    weight_map, total = {}, 0
    for number in range(BIG_SHARDS):
        inside = {name: tensors[name] for name in names[number * per_shard : (number + 1) * per_shard]}
        header, payload_bytes = header_of(inside)
        path = model_dir / f"model-{number + 1:05}-of-{BIG_SHARDS:05}.safetensors"
        path.write_bytes(header)
        os.truncate(path, len(header) + payload_bytes)
        weight_map |= dict.fromkeys(inside, path.name)
        total += payload_bytes
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (model_dir / "model.safetensors.index.json").write_text(json.dumps(index))
    (model_dir / "config.json").write_text(json.dumps(BIG_CONFIG))
    files = tuple(
        ManifestFile(path=path.name, size_bytes=path.stat().st_size, sha256="0" * 64)
        for path in sorted(model_dir.iterdir())
        if path.is_file()
    )
    return Manifest(repo="bench/sparse", commit=COMMIT, files=files)


def bare_hash(size_bytes: int) -> float:
    """Seconds to hash as many bytes on all cores, out of their caches."""
    buffer = bytes(256 * 1024)

    def hash_share() -> None:
        digest = hashlib.sha256()
        for _ in range(size_bytes // CORES // len(buffer)):
            digest.update(buffer)

    with ThreadPoolExecutor(CORES) as pool:
        began_s = time.monotonic()
        for share in [pool.submit(hash_share) for _ in range(CORES)]:
            share.result()
        return time.monotonic() - began_s


def bare_cpu_s(size_bytes: int) -> float:
    """CPU-seconds of the same, which other programs on the machine disturb less."""
    began_s = time.process_time()
    bare_hash(size_bytes)
    return time.process_time() - began_s


def slipway(job: str, volume: Path, manifest_file: Path) -> dict[str, float]:
    """A verification in a process of its own, which must succeed."""
    command = [sys.executable, "-c", CHILD, str(volume), str(manifest_file), job]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def hf_verify(model_dir: Path, manifest: Manifest) -> float:
    """Seconds of what `hf cache verify` does once it has asked the Hub."""
    remote = {f.path: SimpleNamespace(lfs=SimpleNamespace(sha256=f.sha256), blob_id="") for f in manifest.files}
    local = {file.path: model_dir / file.path for file in manifest.files}
    began_s = time.monotonic()
    found = verify_maps(remote_by_path=remote, local_by_path=local, revision=COMMIT, verified_path=model_dir)  # type: ignore[arg-type]  # it reads lfs.sha256 only
    if found.mismatches or found.checked_count != len(manifest.files):
        raise SystemExit(f"hf found fault with right files: {found.mismatches}")
    return time.monotonic() - began_s


def sha256sum(model_dir: Path, manifest: Manifest) -> float:
    """Seconds of coreutils' check."""
    sums = "".join(f"{file.sha256}  {file.path}\n" for file in manifest.files)
    began_s = time.monotonic()
    subprocess.run(["sha256sum", "--check", "--quiet"], input=sums, cwd=model_dir, text=True, check=True)
    return time.monotonic() - began_s


def cat(model_dir: Path, manifest: Manifest) -> float:
    """Seconds that reading takes."""
    began_s = time.monotonic()
    subprocess.run(
        ["cat", *(file.path for file in manifest.files)], cwd=model_dir, stdout=subprocess.DEVNULL, check=True
    )
    return time.monotonic() - began_s


def forget(model_dir: Path) -> None:
    """Tell the page cache to forget the files."""
    for path in model_dir.glob("*.safetensors"):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_turn(rounds: int, measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of each, measured in turn."""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    return {name: statistics.median(values) for name, values in taken.items()}


@contextmanager
def volume_of(root: Path, make: Callable[[Path], Manifest], repo: str) -> Iterator[tuple[Path, Path, Manifest]]:
    """A volume with a model in it: its directory, a file with the manifest, the manifest."""
    with tempfile.TemporaryDirectory(prefix="bench-weights-", dir=root) as directory:
        volume = Path(directory)
        model_dir = volume / "models" / repo.replace("/", "--") / COMMIT
        model_dir.mkdir(parents=True)
        manifest = make(model_dir)
        if model_dir != volume / layout.model_path(manifest):
            raise SystemExit("the layout has changed: adapt this benchmark")
        manifest_file = volume / "manifest.json"
        manifest_file.write_bytes(manifest.to_json())
        yield volume, manifest_file, manifest


def bench_dense(root: Path, shards: int, shard_gib: float, rounds: int) -> None:
    """Full verification of dense shards."""

    def make(model_dir: Path) -> Manifest:
        return write_dense(model_dir, shards, int(shard_gib * GIB))

    with volume_of(root, make, "bench/dense") as (volume, manifest_file, manifest):
        model_dir = volume / layout.model_path(manifest)
        total = manifest.total_bytes
        peaks, cpu_s = [], []

        def ours() -> float:
            found = slipway("verify", volume, manifest_file)
            peaks.append(found["peak_bytes"])
            cpu_s.append(found["cpu_s"])
            return found["seconds"]

        def warm(measure: Callable[[], float]) -> Callable[[], float]:
            def read_before() -> float:
                cat(model_dir, manifest)
                return measure()

            return read_before

        medians = in_turn(
            rounds,
            {
                "hash": lambda: bare_hash(total),
                "slipway": warm(ours),
                "hf": warm(lambda: hf_verify(model_dir, manifest)),
                "sha256sum": warm(lambda: sha256sum(model_dir, manifest)),
            },
        )
        show(f"{total / 1e9:.1f} GB in {shards} shards, page cache, {CORES} cores", medians, total)
        best = min(medians["hf"], medians["sha256sum"])
        print(f"of the bare hash {medians['hash'] / medians['slipway']:.3f} (goal 0.90)")
        print(f"of the bare hash per CPU-second {bare_cpu_s(total) / statistics.median(cpu_s):.3f}")
        print(f"times the better of hf and sha256sum {best / medians['slipway']:.2f} (goal 1.9)")

        def cold(measure: Callable[[], float]) -> Callable[[], float]:
            def forgotten() -> float:
                forget(model_dir)
                return measure()

            return forgotten

        from_disk = in_turn(rounds, {"cat": cold(lambda: cat(model_dir, manifest)), "slipway": cold(ours)})
        show("from disk", from_disk, total)
        print(f"of cat's rate {from_disk['cat'] / from_disk['slipway']:.3f} (goal 0.95)")
        show_estimate(total / statistics.median(cpu_s))
        print(f"peak memory {max(peaks) / MIB:.0f} MiB (goal at most 256)")


def bench_sparse(root: Path, rounds: int) -> None:
    """The quick tier on the layout of the big model."""
    with volume_of(root, write_sparse, "bench/sparse") as (volume, manifest_file, manifest):
        found = [slipway("quick", volume, manifest_file) for _ in range(rounds)]
        seconds = statistics.median(result["seconds"] for result in found)
        peak = max(result["peak_bytes"] for result in found) / MIB
        apparent = manifest.total_bytes / 1e9
        print(f"quick: {BIG_SHARDS} shards, {apparent:.0f} GB apparent: {seconds:.2f} s (goal 2), {peak:.0f} MiB")


def show_estimate(core_bytes_per_s: float) -> None:
    """The model of 756 GB with the rate of a core measured here, and what Modal's documents say of a volume."""
    print("\n756 GB in 142 files by the model: workers of 2 cores, 2.5 GB/s for each worker | for all together")
    for workers in (1, 8, 32):
        each, together = (
            verification(756_000_000_000, 142, workers=workers, rates=Rates(core_bytes_per_s, 2, 2.5e9, volume))
            for volume in (None, 2.5e9)
        )
        print(
            f"  {workers:2} workers {each.seconds:6.0f} s ({each.bound}) | {together.seconds:6.0f} s ({together.bound})"
        )


def show(title: str, seconds: dict[str, float], total: int) -> None:
    """Lines with time and rate."""
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<10} {value:7.2f} s  {total / value / 1e9:6.2f} GB/s")


def main() -> None:
    """Make the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(tempfile.gettempdir()), help="where the files are made")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--shard-gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["dense", "sparse"], help="one of the two")
    chosen = parser.parse_args()
    if chosen.only != "dense":
        bench_sparse(chosen.root, chosen.rounds)
    if chosen.only != "sparse":
        bench_dense(chosen.root, chosen.shards, chosen.shard_gib, chosen.rounds)


if __name__ == "__main__":
    main()
