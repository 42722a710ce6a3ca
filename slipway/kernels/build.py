"""The job that makes SGLang's kernel cache, and proves it before the marker is written.

The compiler alone is not enough: CUDA graphs use other kernels than it runs (half of the multiprocessors), and
requests others again. So: compile, start for real with the serving command line, load, check, pack, mark.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from slipway.engine.log_start import GemmShape, StartLog
from slipway.errors import Corrupt, Misconfigured
from slipway.files import write_atomic
from slipway.kernels.architecture import architecture_of
from slipway.kernels.cache import Marker, marker_path
from slipway.kernels.compiler import Compiled, compile_command, run_compiler
from slipway.kernels.directories import environment, files_below, problems, root_for
from slipway.kernels.machine import describe_machine
from slipway.kernels.pack import describe, pack
from slipway.kernels.roots import changing, use
from slipway.kernels.shapes import expected_shapes
from slipway.kernels.trial import Trial, try_start
from slipway.platforms.local.ports import free_port
from slipway.platforms.port import JobContext, Progress

PORT: Final = "@port@"
"""Stands for the port in the command line of an order: it is found where the engine runs."""

SEALED: Final = 0o444
_TELL_EVERY_S: Final = 1.0


class Order(BaseModel):
    """What is to be built; everything the job knows of the release.

    Attributes:
        model_dir: Directory of verified weights.
        manifest_digest: What they were verified against.
        key: Digest of the kernel key.
        parts: Its parts.
        argv: The serving command line, with `PORT` for its port.
        env: Its environment.
        served_name: The model's name in requests.
        gpu: Name of the GPU that the kernels are for.
        tp_size: Ranks.
        moe_runner_backend: As the profile asks.
        fp8_gemm_backend: As the profile asks.
        lengths: Prompt lengths in tokens that the load must reach.
        concurrency: Requests that the engine runs at once.
        startup_timeout_s: How long a start may take.
        deadline_s: How long all of it may take.
        roots: Local directory for the caches; the same wherever they are used.
    """

    model_dir: Path
    manifest_digest: str
    key: str
    parts: dict[str, str]
    argv: list[str]
    env: dict[str, str]
    served_name: str
    gpu: str
    tp_size: int
    moe_runner_backend: str | None
    fp8_gemm_backend: str | None
    lengths: list[int]
    concurrency: int
    startup_timeout_s: float
    deadline_s: float
    roots: Path


def build(context: JobContext, *, order: dict[str, Any]) -> dict[str, Any]:
    """Make the cache of a key in mount `kernels`.

    Args:
        context: With mounts `weights` (read-only) and `kernels`.
        order: An `Order` as JSON.

    Returns:
        Files, bytes and seconds, for the record.

    Raises:
        Crashed: If the compiler or the engine fails, or misses the deadline.
        Corrupt: If both end well, but kernels are missing or not whole.
        Misconfigured: If the machine is not what the kernels are for, or its disk is full.
        Busy: If another job of this machine builds the same, or a server of it runs on these very files.
    """
    wanted = Order.model_validate(order)
    machine = describe_machine()
    _require_gpu(wanted.gpu, machine)
    with _exclusive_root(wanted) as root, _full_disk_is_told():
        return _Build(context, wanted, machine, root).run()


class _Build:
    """One build, in the empty root that it was given."""

    def __init__(self, context: JobContext, order: Order, machine: dict[str, str], root: Path) -> None:
        self._context = context
        self._order = order
        self._machine = machine
        self._root = root
        self._deadline_s = time.monotonic() + order.deadline_s
        # Into a pipe Python prints in blocks: what the compiler says last would come when it is too late.
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **order.env, **environment(root)}
        self._told_s = 0.0

    def run(self) -> dict[str, Any]:
        expected = expected_shapes(
            json.loads((self._order.model_dir / "config.json").read_bytes()),
            tp_size=self._order.tp_size,
            architecture=architecture_of(self._order.gpu),
            moe_runner_backend=self._order.moe_runner_backend,
            fp8_gemm_backend=self._order.fp8_gemm_backend,
        )
        compiled = self._compile(len(expected))
        self._require_whole("the compiler")
        require_shapes(expected, compiled.shapes_s)
        before = files_below(self._root)
        trial = self._try(len(expected))
        self._require_whole("the first start")
        return self._keep(compiled, trial, added=len(files_below(self._root).keys() - before.keys()))

    def _compile(self, shapes: int) -> Compiled:
        def tell(log: StartLog) -> None:
            now_s = time.monotonic()
            if now_s - self._told_s >= _TELL_EVERY_S:
                self._told_s = now_s
                self._context.progress(Progress(shapes_done(log), shapes or None, "shapes", log.doing()))

        command = compile_command(self._argv(), timeout_s=self._order.deadline_s)
        return run_compiler(command, self._env, deadline_s=self._deadline_s, tell=tell)

    def _try(self, shapes: int) -> Trial:
        def tell(step: str) -> None:
            self._context.progress(Progress(shapes, shapes or None, "shapes", f"first start: {step}"))

        order = self._order
        return try_start(
            self._argv(),
            self._env,
            model_dir=order.model_dir,
            manifest_digest=order.manifest_digest,
            startup_timeout_s=order.startup_timeout_s,
            deadline_s=self._deadline_s,
            load={"model": order.served_name, "lengths": order.lengths, "concurrency": order.concurrency},
            tell=tell,
        )

    def _argv(self) -> list[str]:
        port = str(free_port(()))
        return [word.replace(PORT, port) for word in self._order.argv]

    def _require_whole(self, after: str) -> None:
        if wrong := problems(self._root):
            raise Corrupt(
                f"After {after} {len(wrong)} kernels are not whole: {', '.join(wrong[:5])}.",
                remedy="Run again; if it repeats, the compiler is killed or its disk is full: read the job's log.",
            )

    def _keep(self, compiled: Compiled, trial: Trial, *, added: int) -> dict[str, Any]:
        """Pack, then the marker, then commit. The archive is named by its bytes: of two writers each has its own."""
        mounted = self._context.mounts["kernels"]
        target = mounted.path / self._order.key
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        packing = self._root.parent / f".{self._order.key}.tar.gz"
        try:
            contents = pack(self._root, packing)
            archive = describe(packing)
            name = f"{archive.sha256[:16]}.tar.gz"
            shutil.copyfile(packing, target / name)
        finally:
            packing.unlink(missing_ok=True)
        (target / name).chmod(SEALED)
        marker = Marker(
            key=self._order.key,
            parts=self._order.parts,
            files={name: archive},
            compile_s=compiled.seconds,
            contents=contents,
            made_on=self._machine,
            start_s=trial.start_s,
        )
        write_atomic(mounted.path / marker_path(marker.key), marker.model_dump_json(indent=1).encode(), mode=SEALED)
        mounted.commit()
        return {
            "units": len(contents),
            "size_bytes": archive.size_bytes,
            "seconds": compiled.seconds,
            "shapes": len(compiled.shapes_s),
            "added_by_start": added,
            "start_s": trial.start_s,
            "load_s": trial.load_s,
        }


def shapes_done(log: StartLog) -> float:
    """Shapes that the compiler has finished, with the share of the one it is at."""
    if not log.shapes_s:
        return 0.0
    share = log.bar.done / log.bar.total if log.bar and log.bar.total else 0.0
    return len(log.shapes_s) - 1 + share


def require_shapes(expected: frozenset[GemmShape], seen: Mapping[GemmShape, float]) -> None:
    """Check that every shape was seen in the log.

    Raises:
        Corrupt: Otherwise: success that covers less than the model needs is none.
    """
    if missing := sorted(expected - seen.keys()):
        told = ", ".join(f"N={shape.n} K={shape.k}" for shape in missing)
        raise Corrupt(
            f"The kernels of {len(missing)} of {len(expected)} shapes were never asked for: {told}.",
            remedy="Compare the backends in force (`--fp8-gemm-backend`) with the profile; read the job's log.",
        )


def _require_gpu(gpu: str, machine: Mapping[str, str]) -> None:
    """Refuse another GPU than was asked for, before anything is loaded."""
    architecture = architecture_of(gpu)
    there = machine.get("architecture", architecture)
    if there != architecture:
        raise Misconfigured(
            f"Kernels are to be made for {gpu} ({architecture}), but this machine has {machine.get('gpu')} ({there}).",
            remedy="Ask for the GPU by its exact name.",
        )


@contextlib.contextmanager
def _exclusive_root(order: Order) -> Iterator[Path]:
    """An empty root for this build alone, and nothing of it afterwards."""
    root = root_for(order.key, order.roots)
    with changing(order.roots):
        used = use(root, alone=True)
    with used:
        shutil.rmtree(root, ignore_errors=True)
        for directory in environment(root).values():
            Path(directory).mkdir(parents=True)
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def _full_disk_is_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise Misconfigured(
            f"The disk is full: {error}.",
            remedy=f"Free room in {tempfile.gettempdir()}, the kernel caches' directory and the kernel volume.",
        ) from None
