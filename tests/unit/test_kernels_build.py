"""The kernel job against a double of SGLang's compiler and server: proved success, and every way to fail."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from slipway.errors import Busy, Corrupt, Crashed, Misconfigured, SlipwayError
from slipway.kernels import build as build_module
from slipway.kernels import pack as pack_module
from slipway.kernels.build import PORT, build
from slipway.kernels.cache import Marker, look_up, marker_path
from slipway.kernels.compiler import compile_command
from slipway.kernels.directories import VARIABLES, environment
from slipway.kernels.key import KernelKey
from slipway.kernels.provide import Kernels, provide
from slipway.kernels.roots import changing, use
from slipway.kernels.trial import try_start
from slipway.platforms.local.ports import free_port
from slipway.platforms.port import JobContext, Progress
from slipway.units import utc_now
from slipway.weights.layout import READY_FILE
from slipway.weights.ready import Ready
from tests.support.job_mount import Mount
from tests.support.sglang_build import SMALL

pytestmark = pytest.mark.slow

DOUBLE = Path(__file__).parents[1] / "support" / "sglang_double"
KEY = KernelKey({"engine": "sglang", "version": "0.5.12.post1", "image": "image-a", "gpu": "H100:1"})
SERVING = ("python3", "-m", "sglang.launch_server", "--model-path", "M", "--port", PORT)
LONG_S = 60.0
OF_TRITON_AND_INDUCTOR = (
    *("triton/fused_moe/1/kernel.cubin", "triton/rope/2/kernel.cubin", "inductor/ab/cab.py"),
    *(f"triton/{running}/alloc_extend_kernel.cubin" for running in (2, 4, 8)),
)


class World:
    """A machine with weights, a mounted kernel volume, and the double in SGLang's place."""

    def __init__(self, directory: Path) -> None:
        self.model, self.roots = directory / "model", directory / "roots"
        self.mount = Mount(directory / "kernels")
        self.mount.path.mkdir()
        self.told: list[Progress] = []
        (self.model / READY_FILE).parent.mkdir(parents=True)
        marker = Ready(manifest_digest="d1", repo="o/m", commit="c", files=1, size_bytes=1, verified_at=utc_now())
        (self.model / READY_FILE).write_text(marker.model_dump_json())
        (self.model / "config.json").write_text(json.dumps(SMALL))

    def order(self, **changes: Any) -> dict[str, Any]:
        order = {
            "model_dir": str(self.model),
            "manifest_digest": "d1",
            "key": KEY.digest,
            "parts": dict(KEY.parts),
            "argv": [str(self.model) if word == "M" else word for word in SERVING],
            "env": {"OMP_NUM_THREADS": "1"},
            "served_name": "glm",
            "gpu": "H100",
            "tp_size": 1,
            "moe_runner_backend": None,
            "fp8_gemm_backend": None,
            "lengths": [64, 2500],
            "concurrency": 8,
            "startup_timeout_s": LONG_S,
            "deadline_s": LONG_S,
            "roots": str(self.roots),
        }
        return order | changes

    def build(self, **changes: Any) -> dict[str, Any]:
        return build(JobContext({"kernels": self.mount}, self.told.append), order=self.order(**changes))

    def marker(self) -> Marker:
        return Marker.model_validate_json(self.mount.volume.read(marker_path(KEY.digest)))

    def left_nothing(self) -> bool:
        """No marker, no commit, no process, no unpacked or half-packed files."""
        ours = [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(self.model) in (process.info["cmdline"] or ())
        ]
        left = [
            path for path in self.roots.rglob("*") if path.is_file() and path.suffix != ".used" and path.name != ".lock"
        ]
        return not (self.mount.commits or (self.mount.path / marker_path(KEY.digest)).exists() or ours or left)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PYTHONPATH", str(DOUBLE))
    monkeypatch.setattr(build_module, "describe_machine", dict)
    return World(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, Any]]]:
    """A world with a cache, for tests that only look at it, and what the build said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(DOUBLE))
        patch.setattr(build_module, "describe_machine", dict)
        world = World(tmp_path_factory.mktemp("built"))
        yield world, world.build()


def failing(world: World, error: type[SlipwayError], **changes: Any) -> str:
    """What a build says that fails, after making sure that it has left nothing."""
    with pytest.raises(error) as raised:
        world.build(**changes)
    assert world.left_nothing()
    return str(raised.value)


def start_on(world: World, kernels: Kernels) -> dict[str, float]:
    """Start the double as a server does that was given these kernels, and load it."""
    port = str(free_port(()))
    argv = [word.replace(PORT, port) for word in world.order()["argv"]]
    env = {**os.environ, **environment(kernels.root)}
    load = {"model": "glm", "lengths": [64, 2500], "concurrency": 8}
    deadline_s = time.monotonic() + LONG_S
    trial = try_start(
        argv,
        env,
        model_dir=world.model,
        manifest_digest="d1",
        startup_timeout_s=LONG_S,
        deadline_s=deadline_s,
        load=load,
        tell=lambda _: None,
    )
    return dict(trial.start_s)


def test_cache_is_made_packed_and_proved_by_a_second_start(built: tuple[World, dict[str, Any]], tmp_path: Path) -> None:
    world, result = built
    assert look_up(world.mount.volume, KEY).usable
    marker = world.marker()
    assert {path.partition("/")[0] for path in marker.contents} == set(VARIABLES.values()) - {"sglang", "sglang_jit"}
    assert result["units"] == len(marker.contents)
    assert result["shapes"] == 5
    # 11 kernels of graphs, one of decode and one of long prompts; three that ninja builds: two files each
    assert result["added_by_start"] == 2 * (13 + 3) + len(OF_TRITON_AND_INDUCTOR)
    assert set(OF_TRITON_AND_INDUCTOR) <= marker.contents.keys()
    assert list(marker.start_s)[:4] == ["kernels", "imports", "processes", "distributed"]
    assert set(result["load_s"]) >= {"short, greedy", "short, sampled", "2500 tokens", "tool call", "burst of 8"}
    (archive,) = marker.files
    assert (world.mount.path / KEY.digest / archive).stat().st_mode & 0o222 == 0
    assert not list(world.roots.glob("[!.]*"))  # nothing of it stays behind

    kernels = provide(world.mount.path, KEY.digest, tmp_path / "roots")
    assert (kernels.miss, kernels.new_files()) == ("", [])
    start_on(world, kernels)
    assert kernels.faults() == ()
    assert kernels.new_files() == []  # neither the start nor any request compiled anything


def test_progress_counts_shapes(built: tuple[World, dict[str, Any]]) -> None:
    told = built[0].told
    assert {(progress.total, progress.unit) for progress in told} == {(5, "shapes")}
    done = [progress.done for progress in told]
    assert done == sorted(done)
    assert any("first start: short, sampled" in progress.note for progress in told)


def test_marker_comes_last_and_then_the_commit(built: tuple[World, dict[str, Any]]) -> None:
    world, _ = built
    marked = (world.mount.path / marker_path(KEY.digest)).stat().st_mtime_ns
    assert all(path.stat().st_mtime_ns <= marked for path in (world.mount.path / KEY.digest).iterdir())
    assert world.mount.commits == 1


def test_cache_of_another_image_is_no_use_and_is_seen_at_once(
    built: tuple[World, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where everything in our key is the same and still the engine's own differs, new files tell."""
    world, _ = built
    kernels = provide(world.mount.path, KEY.digest, tmp_path / "roots")
    monkeypatch.setenv("SGLANG_DOUBLE_IMAGE", "image-b")
    start_on(world, kernels)
    new = kernels.new_files()
    assert len([path for path in new if path.endswith("kernel.cubin")]) > 13
    assert "new since: deep_gemm/cache/kernel." in kernels.told()
    (fault,) = kernels.faults()
    assert fault.startswith(f"{len(new)} files were compiled anew: deep_gemm/cache/kernel.")
    assert fault.endswith(f", and {len(new) - 3} more")


def test_other_image_in_the_key_is_a_miss_by_name(built: tuple[World, dict[str, Any]]) -> None:
    other = KernelKey({**KEY.parts, "image": "image-b"})
    assert look_up(built[0].mount.volume, other).why == "stale: image changed"


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("dead-child", Crashed, "[gpu-architecture]"),
        ("silent-death", Crashed, "died without a word"),
        ("refused", Crashed, "[key-refused]"),
        ("disk-full", Crashed, "[disk-full]"),
        ("half-written", Corrupt, "has no kernel.cubin"),
        ("fewer-shapes", Corrupt, "1 of 5 shapes were never asked for: N=3584 K=512"),
        ("no-success", Crashed, "did not say that it had finished"),
        ("start-fails", Crashed, "[weights-do-not-fit]"),
        ("no-long-prompts", Crashed, "HTTP 400"),
    ],
)
def test_fault_ends_the_job_soon_and_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: str, error: type[SlipwayError], said: str
) -> None:
    monkeypatch.setenv("SGLANG_DOUBLE", fault)
    began_s = time.monotonic()
    assert said in failing(world, error, deadline_s=600.0)  # the tool itself would wait all of it
    assert time.monotonic() - began_s < LONG_S


def test_hang_ends_at_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_DOUBLE", "hang")
    assert "was ended at its deadline, in: warm up: DeepGEMM warmup" in failing(world, Crashed, deadline_s=5.0)


def test_weights_that_were_not_verified_are_not_compiled_for(world: World) -> None:
    (world.model / READY_FILE).unlink()
    assert "never verified" in failing(world, Crashed)


def test_image_without_the_tool(world: World) -> None:
    argv = ["no-such-python", *world.order()["argv"][1:]]
    assert "cannot be started" in failing(world, Crashed, argv=argv)


def test_another_gpu_is_refused_before_anything_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {"gpu": "NVIDIA B300 SXM6 AC", "architecture": "sm_103"}
    monkeypatch.setattr(build_module, "describe_machine", lambda: machine)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("something was started"))
    said = failing(world, Misconfigured, gpu="B200", moe_runner_backend="flashinfer_trtllm")
    assert "for B200 (sm_100), but this machine has NVIDIA B300 SXM6 AC (sm_103)" in said


def test_full_disk_while_packing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pack_module.tarfile.TarFile, "addfile", full)
    assert "The disk is full" in failing(world, Misconfigured)


def test_a_writer_beside_another_process_of_the_machine(world: World) -> None:
    with changing(world.roots):
        used = use(world.roots / KEY.digest)
    with used:
        assert "Another process of this machine uses the kernels" in failing(world, Busy)


def test_two_writers_of_two_machines(
    built: tuple[World, dict[str, Any]], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own view; whoever commits last, the marker and its archive belong together."""
    monkeypatch.setenv("SGLANG_DOUBLE_IMAGE", "image-b")
    world.build()
    for first, last in ((world, built[0]), (built[0], world)):
        last_wins = {**first.mount.volume.files, **last.mount.volume.files}
        directory = tmp_path / f"volume-{id(first)}"
        for path, data in last_wins.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
        kernels = provide(directory, KEY.digest, tmp_path / f"roots-{id(first)}")
        assert (kernels.miss, kernels.new_files()) == ("", [])
        assert kernels.given.keys() == last.marker().contents.keys()


def test_nothing_of_an_earlier_attempt_counts(world: World) -> None:
    stale = world.roots / KEY.digest / "deep_gemm" / "cache" / "kernel.old.1"
    stale.mkdir(parents=True)
    (stale / "kernel.cu").touch()  # half-written, by a job that was killed
    old = world.mount.path / KEY.digest / "0000.tar.gz"
    old.parent.mkdir()
    old.write_bytes(b"half")
    world.build()
    assert not any("kernel.old" in path for path in world.marker().contents)
    assert not old.exists()


@pytest.mark.parametrize(
    "words", [("--api-key", "hush"), ("--api-key=hush",), ("--admin-api-key", "hush", "--api-key=hush")]
)
def test_compiler_never_sees_a_key(words: tuple[str, ...]) -> None:
    command = compile_command([*SERVING, *words, "--tp-size", "8"], timeout_s=90.5)
    assert command == [
        *("python3", "-m", "sglang.compile_deep_gemm", "--model-path", "M", "--port", PORT),
        *("--tp-size", "8", "--timeout", "90"),
    ]


def test_interrupted_job_leaves_no_process(world: World) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done > 0:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        build(JobContext({"kernels": world.mount}, interrupt), order=world.order())
    assert world.left_nothing()
