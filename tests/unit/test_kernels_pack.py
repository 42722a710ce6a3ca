"""Packing, unpacking and the proof of use, on the directories that real SGLang left."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from slipway.errors import Corrupt
from slipway.kernels import provide as provide_module
from slipway.kernels.cache import CachedFile, Marker, marker_path
from slipway.kernels.directories import VARIABLES, environment, files_below, problems
from slipway.kernels.pack import describe, pack, unpack
from slipway.kernels.provide import Kernels, provide
from tests.support.sglang_logs import raw

KEY = "k" * 32
ROUNDED_UP_NS = 1_795_377_085_980_923_819
"""As a decimal in an archive it comes back 72 ns later; by as much an object was once built again in each start."""

HERE = {"gpu": "NVIDIA B200", "nvcc": "13.0.88", "install_path": "/opt/a/deep_gemm/__init__.py"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What DeepGEMM had after the first real start (sizes cut), and a file of each other cache."""
    made = tmp_path / "made" / KEY
    for row in raw("dg-after-warm.txt").decode().splitlines():
        path, size, at = row.split(" ")
        file = made / "deep_gemm" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode() * (1 + int(size) // 1000))
        os.utime(file, ns=(int(float(at) * 1e9),) * 2)
    for directory in ("tvm_ffi/set_kv", "flashinfer/.cache/flashinfer/90a", "triton/ABC", "inductor/x"):
        file = made / directory / "built.so"
        file.parent.mkdir(parents=True)
        file.write_bytes(directory.encode())
        os.utime(file, ns=(ROUNDED_UP_NS, ROUNDED_UP_NS))
    (made / "flashinfer" / ".cache" / "flashinfer" / "90a" / "build.lock").touch()
    return made


@pytest.fixture
def volume(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(provide_module, "describe_machine", lambda: HERE)
    directory = tmp_path / "volume"
    (directory / KEY).mkdir(parents=True)
    archive = directory / KEY / "kernels.tar.gz"
    contents = pack(root, archive)
    marker = Marker(
        key=KEY, parts={}, files={archive.name: describe(archive)}, compile_s=427.6, contents=contents, made_on=HERE
    )
    (directory / marker_path(KEY)).write_text(marker.model_dump_json())
    return directory


def test_five_caches_and_one_more_are_told_to_the_engine() -> None:
    told = environment(Path("/x"))
    assert told["SGLANG_DG_CACHE_DIR"] == "/x/deep_gemm"
    assert told["FLASHINFER_WORKSPACE_BASE"] == "/x/flashinfer"
    assert len(set(told.values())) == len(VARIABLES) == 7


def test_real_directories_are_whole(root: Path) -> None:
    assert problems(root) == []
    assert len([path for path in files_below(root) if path.startswith("deep_gemm/")]) == 110


def test_what_is_packed_comes_back_the_same(root: Path, tmp_path: Path) -> None:
    archive, target = tmp_path / "kernels.tar.gz", tmp_path / "other" / KEY
    contents = pack(root, archive)
    target.parent.mkdir()
    unpack(archive, target, contents)
    assert files_below(target).keys() == files_below(root).keys() == contents.keys()
    for path in contents:
        before, after = root / path, target / path
        assert before.read_bytes() == after.read_bytes()
        assert after.stat().st_size == contents[path].size_bytes
        # Not a nanosecond later: ninja would build it again.
        assert 0 <= before.stat().st_mtime_ns - after.stat().st_mtime_ns < 1e9
    assert not any(path.endswith(".lock") for path in contents)


@pytest.mark.parametrize("name", ["kernel.cu", "kernel.cubin"])
@pytest.mark.parametrize("left", [b"", None])
def test_half_written_kernel_is_named(root: Path, name: str, left: bytes | None) -> None:
    kernel = min((root / "deep_gemm" / "cache").glob("kernel.*"))
    (kernel / name).unlink()
    if left is not None:
        (kernel / name).write_bytes(left)
    assert problems(root) == [f"{kernel.name} has no {name}"]


def test_unfinished_kernel_is_named_and_not_packed(root: Path) -> None:
    unfinished = root / "deep_gemm" / "tmp" / "1234" / "kernel.cubin"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half")
    assert problems(root) == ["kernel.cubin was left in tmp"]
    assert not any("1234" in path for path in files_below(root))


def test_provided_kernels_are_proved_used(volume: Path, root: Path, tmp_path: Path) -> None:
    kernels = provide(volume, KEY, tmp_path / "roots")
    assert (kernels.miss, kernels.new_files(), kernels.compile_s) == ("", [], 427.6)
    assert kernels.told().startswith("kernels: 114 files unpacked in ")
    assert kernels.told().endswith("none new since")
    assert kernels.told(74.5).endswith("none new since; about 353 s saved")  # 348 by the measured starts
    assert kernels.told(500.0).endswith("none new since")
    new = kernels.root / "deep_gemm" / "cache" / "kernel.x.1" / "kernel.cubin"
    new.parent.mkdir()
    new.touch()
    assert kernels.new_files() == ["deep_gemm/cache/kernel.x.1/kernel.cubin"]
    assert "1 new since: deep_gemm/cache/kernel.x.1/kernel.cubin" in kernels.told()


def test_what_is_built_again_in_its_place_is_new(volume: Path, tmp_path: Path) -> None:
    kernels = provide(volume, KEY, tmp_path / "roots")
    built = kernels.root / "tvm_ffi" / "set_kv" / "built.so"
    (built.parent / ".ninja_log").write_text("# ninja log v6")
    assert kernels.new_files() == [], "only what ninja notes"
    built.write_bytes(built.read_bytes())
    assert kernels.new_files() == ["tvm_ffi/set_kv/built.so"]
    assert kernels.faults() == ("1 files were compiled anew: tvm_ffi/set_kv/built.so",)


def test_a_further_variant_of_a_triton_kernel_is_told_and_no_fault(volume: Path, tmp_path: Path) -> None:
    kernels = provide(volume, KEY, tmp_path / "roots")
    for path in ("DEF/built.cubin", "DEF/__grp__built.json", "GHI/of_its_own.cubin"):
        file = kernels.root / "triton" / path
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert kernels.variants() == ["triton/DEF/__grp__built.json", "triton/DEF/built.cubin"]
    assert kernels.new_files() == ["triton/GHI/of_its_own.cubin"]
    assert "1 new since: triton/GHI/of_its_own.cubin, 2 of variants of Triton kernels" in kernels.told()
    (kernels.root / "triton" / "GHI" / "of_its_own.cubin").unlink()
    assert kernels.faults() == ()
    assert "none new since, 2 of variants" in kernels.told()


def test_kernels_in_use_are_left_alone(volume: Path, tmp_path: Path) -> None:
    first = provide(volume, KEY, tmp_path / "roots")
    added = first.root / "triton" / "of-the-first-engine"
    added.touch()
    second = provide(volume, KEY, tmp_path / "roots")
    assert added.exists()
    assert second.new_files() == ["triton/of-the-first-engine"]


def test_incomplete_local_copy_is_replaced(volume: Path, tmp_path: Path) -> None:
    first = provide(volume, KEY, tmp_path / "roots")
    next(first.root.rglob("kernel.cubin")).write_bytes(b"")
    beside = provide(volume, KEY, tmp_path / "roots")
    assert "Another process of this machine uses the kernels" in beside.miss, "not under a server that runs on them"
    for server in (first, beside):
        assert server.used is not None
        server.used.close()
    again = provide(volume, KEY, tmp_path / "roots")
    assert (again.miss, again.new_files(), problems(again.root)) == ("", [], [])


@pytest.mark.parametrize(
    ("here", "miss"),
    [
        ({**HERE, "gpu": "NVIDIA B300"}, "gpu: NVIDIA B200 then, NVIDIA B300 here"),
        ({**HERE, "install_path": "/opt/b"}, "install_path: /opt/a/deep_gemm/__init__.py then, /opt/b here"),
        ({name: value for name, value in HERE.items() if name != "nvcc"}, "nvcc: 13.0.88 then, None here"),
    ],
)
def test_cache_of_another_machine_is_a_miss_that_names_what_differs(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: dict[str, str], miss: str
) -> None:
    monkeypatch.setattr(provide_module, "describe_machine", lambda: here)
    kernels = provide(volume, KEY, tmp_path / "roots")
    assert miss in kernels.miss
    assert not kernels.root.exists()
    assert "none given" in kernels.told()


def test_misses(volume: Path, tmp_path: Path) -> None:
    assert "no cache for key" in provide(volume, "other", tmp_path / "roots").miss
    archive = volume / KEY / "kernels.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1])
    assert "differs from its manifest" in provide(volume, KEY, tmp_path / "roots").miss
    archive.unlink()
    assert provide(volume, KEY, tmp_path / "roots").miss
    (volume / marker_path(KEY)).write_text("{")
    assert "cannot be read" in provide(volume, KEY, tmp_path / "roots").miss


def changed(contents: dict[str, CachedFile]) -> dict[str, CachedFile]:
    return {path: CachedFile(size_bytes=file.size_bytes, sha256="0" * 64) for path, file in contents.items()}


def test_archive_that_is_not_what_the_manifest_says(root: Path, tmp_path: Path) -> None:
    archive, target = tmp_path / "kernels.tar.gz", tmp_path / "target"
    contents = pack(root, archive)
    fewer = dict(list(contents.items())[1:])
    more = {**contents, "triton/more": CachedFile(size_bytes=1, sha256="")}
    for wrong in (changed(contents), fewer, more):
        with pytest.raises(Corrupt, match="does not hold what its manifest says"):
            unpack(archive, target, wrong)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(Corrupt):
        unpack(cut, target, contents)
    assert [path.name for path in tmp_path.glob("*target*")] == []


def test_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("triton")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(Corrupt):
        unpack(archive, tmp_path / "target", {"triton": CachedFile(size_bytes=0, sha256="")})


def test_kernels_of_nothing() -> None:
    assert Kernels(Path("/nowhere"), miss="why").told() == "kernels: none given (why)"
