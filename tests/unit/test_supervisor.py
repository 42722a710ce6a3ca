"""The supervisor as a process of its own, without a platform around it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from slipway.kernels.cache import Marker, marker_path
from slipway.kernels.pack import describe, pack
from slipway.platforms.local.ports import free_port
from slipway.platforms.port import Phase, ServerStatus
from slipway.platforms.status import read_status, write_status
from slipway.units import utc_now
from slipway.weights.layout import READY_FILE
from slipway.weights.ready import Ready

FAKE_ENGINE = Path(__file__).parents[1] / "support" / "fake_engine.py"
LONG_S = 60.0
KEY = "-hush-1234-hush"  # random keys may begin with a dash too


class Supervised:
    """One supervisor and the file it writes."""

    def __init__(
        self,
        directory: Path,
        *engine: str,
        key_name: str = "TEST_KEY",
        argv: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
    ) -> None:
        self.port = port = str(free_port(()))
        self.status_file = directory / "status.json"
        engine_argv = argv or (sys.executable, str(FAKE_ENGINE), "--port", port, *engine)
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "slipway.engine.supervisor", "--release-id", "r1", "--model-dir",
                str(directory / "model"), "--manifest-digest", "d1", "--port", port, "--status-file",
                str(self.status_file), "--health-timeout-s", "30", "--stop-grace-s", "5", "--api-key-env", key_name,
                "--hang-after-s", "0.5", *options, "--", *engine_argv,
            ],
            env={**os.environ, "TEST_KEY": KEY},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )  # fmt: skip

    def status(self) -> ServerStatus:
        return read_status(self.status_file) or ServerStatus(Phase.STARTING)

    def engine(self) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        (found,) = [child for child in children if child.cmdline()[1] == str(FAKE_ENGINE)]
        return found

    def wait_until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONG_S
        while not true():
            assert time.monotonic() < deadline, self.status()
            time.sleep(0.02)

    def wait_ready(self) -> None:
        self.wait_until(lambda: self.status().phase is Phase.READY)

    def end(self) -> str:
        """What it printed, once it has ended."""
        return self.process.communicate(timeout=LONG_S)[0]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    marker = Ready(manifest_digest="d1", repo="o/m", commit="c", files=1, size_bytes=1, verified_at=utc_now())
    ready = tmp_path / "model" / READY_FILE
    ready.parent.mkdir(parents=True)
    ready.write_text(marker.model_dump_json())
    return tmp_path


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def begin(*engine: str, **options: object) -> Supervised:
        started.append(Supervised(directory, *engine, **options))
        return started[-1]

    yield begin
    for supervised in started:
        supervised.process.kill()
        supervised.process.communicate()


def test_hopeless_start_ends_at_once_with_its_cause(start: Callable[..., Supervised], tmp_path: Path) -> None:
    """The engine hangs on after its scheduler has died; nobody waits for the deadline."""
    traceback = "[2026-11-22 11:02:35 TP0] Scheduler hit an exception: Traceback (most recent call last):"
    supervised = start(
        *("--listen-when", str(tmp_path / "never")),
        *("--say", traceback, "--say", '  File "scheduler.py", line 1', "--say"),
        f"torch.OutOfMemoryError: CUDA out of memory. ({KEY})",
    )
    supervised.end()
    status = supervised.status()
    assert (supervised.process.returncode, status.phase) == (1, Phase.CRASHED)
    assert "The GPU's memory is full. [fraction-too-high]" in status.detail
    assert "mem_fraction_static" in status.detail
    assert KEY not in status.detail


def test_end_is_explained_by_the_last_words(start: Callable[..., Supervised]) -> None:
    supervised = start(
        "--say", "engine.py: error: unrecognized arguments: --nsa-decode-backend", "--exit-at-start", "2"
    )
    supervised.end()
    assert "[flag-refused]" in supervised.status().detail
    assert "--nsa-decode-backend" in supervised.status().detail


def test_start_is_told_by_phase(start: Callable[..., Supervised], tmp_path: Path) -> None:
    begun = ["Init torch distributed begin.", "Load weight begin.", "Load weight end. elapsed=1 s"]
    begun += ["Capture cuda graph begin.", "Capture cuda graph end.", "INFO:     Started server process [7]"]
    bar = "Loading shards:  50% Completed | 71/142 [00:01<00:01,  1.75it/s]"
    listen = tmp_path / "listen"
    says = [word for text in begun for word in ("--say", f"[2026-11-22 11:02:35] {text}")]
    supervised = start(*says, "--say", bar, "--listen-when", str(listen))
    supervised.wait_until(lambda: "warm up: Loading shards 71 of 142" in supervised.status().detail)
    listen.touch()
    supervised.wait_ready()
    timings_s = dict(supervised.status().timings_s)
    assert list(timings_s) == [
        *(
            "kernels",
            "imports",
            "processes",
            "distributed",
            "weights",
            "kv_pool",
            "graphs",
            "set_up",
            "warm_up",
            "total",
        ),
    ]
    assert timings_s.pop("total") == pytest.approx(sum(timings_s.values()))


def test_engine_is_given_its_kernels_and_their_use_is_told(start: Callable[..., Supervised], tmp_path: Path) -> None:
    made, volume, roots = tmp_path / "made", tmp_path / "volume", tmp_path / "roots"
    for directory in (made / "triton", volume / "key"):
        directory.mkdir(parents=True)
    (made / "triton" / "built.so").write_bytes(b"kernel")
    archive = volume / "key" / "kernels.tar.gz"
    contents = pack(made, archive)
    marker = Marker(key="key", parts={}, files={archive.name: describe(archive)}, compile_s=1000.0, contents=contents)
    (volume / marker_path("key")).write_text(marker.model_dump_json())
    options = ("--kernels", str(volume), "--kernel-key", "key", "--kernel-roots", str(roots))
    supervised = start(options=options)
    supervised.wait_ready()
    seen = httpx.get(f"http://127.0.0.1:{supervised.port}/cwd").json()["env"]
    assert seen["TRITON_CACHE_DIR"] == str(roots / "key" / "triton")
    assert (roots / "key" / "triton" / "built.so").read_bytes() == b"kernel"
    assert supervised.status().detail.startswith("serving; kernels: 1 files unpacked in ")
    assert re.search(r"none new since; about (?:9\d\d|1000) s saved$", supervised.status().detail)
    assert supervised.status().kernels == ()


def test_engine_without_kernels_serves_and_says_so(start: Callable[..., Supervised], tmp_path: Path) -> None:
    supervised = start(options=("--kernels", str(tmp_path), "--kernel-key", "key", "--kernel-roots", str(tmp_path)))
    supervised.wait_ready()
    assert supervised.status().detail == "serving; kernels: none given (no cache for key key in the volume)"
    assert supervised.status().kernels == ("none were given: no cache for key key in the volume",)


@pytest.mark.slow
def test_hung_engine_ends_the_container(start: Callable[..., Supervised], tmp_path: Path) -> None:
    supervised = start("--hang-when", str(tmp_path / "hang"))
    supervised.wait_ready()
    (tmp_path / "hang").touch()
    supervised.end()
    assert (supervised.process.returncode, supervised.status().phase) == (1, Phase.CRASHED)
    assert "The engine hangs: 1 requests pending" in supervised.status().detail


def test_what_was_begun_is_finished_by_workers_that_obey_sigterm(
    start: Callable[..., Supervised], tmp_path: Path
) -> None:
    supervised = start("--worker")
    supervised.wait_ready()
    release = tmp_path / "release"
    with httpx.stream(
        "POST",
        f"http://127.0.0.1:{supervised.port}/slow",
        json={"release": str(release)},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=LONG_S,
    ) as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == b"first "
        supervised.process.terminate()
        time.sleep(0.3)  # for a signal to reach a worker that it must not reach
        release.touch()
        assert b"".join(chunks) == b"engine"
    supervised.end()
    assert supervised.process.returncode == 0


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_sigterm_stops_engine_and_supervisor_with_status_0(start: Callable[..., Supervised]) -> None:
    supervised = start()
    supervised.wait_ready()
    engine = supervised.engine()
    supervised.process.terminate()
    printed = supervised.end()
    assert supervised.process.returncode == 0
    assert supervised.status().phase is Phase.STOPPED
    assert "finished gracefully" in printed
    assert KEY not in printed
    assert gone(engine)


def test_sigterm_during_the_start_stops_too(start: Callable[..., Supervised], tmp_path: Path) -> None:
    supervised = start("--listen-when", str(tmp_path / "never"))
    supervised.wait_until(lambda: "loading" in supervised.status().detail)
    supervised.process.terminate()
    supervised.end()
    assert (supervised.process.returncode, supervised.status().phase) == (0, Phase.STOPPED)


def test_no_engine_outlives_a_killed_supervisor(start: Callable[..., Supervised], tmp_path: Path) -> None:
    child = tmp_path / "child"
    supervised = start("--ignore-sigterm", "--child", str(child))
    supervised.wait_ready()
    processes = [supervised.engine(), psutil.Process(int(child.read_text()))]
    supervised.process.kill()
    supervised.wait_until(lambda: all(gone(process) for process in processes))


def test_a_killed_engine_ends_the_container_with_status_1(start: Callable[..., Supervised]) -> None:
    supervised = start()
    supervised.wait_ready()
    supervised.engine().send_signal(signal.SIGKILL)
    supervised.end()
    assert supervised.process.returncode == 1
    assert supervised.status().phase is Phase.CRASHED
    assert "was killed by SIGKILL" in supervised.status().detail


def test_a_command_that_is_not_there_is_told(start: Callable[..., Supervised]) -> None:
    supervised = start(argv=("/no/such/engine",))
    supervised.end()
    assert supervised.process.returncode == 1
    assert "/no/such/engine" in supervised.status().detail


def test_a_key_that_is_not_there_is_told(start: Callable[..., Supervised]) -> None:
    supervised = start(key_name="NOT_SET")
    printed = supervised.end()
    assert supervised.process.returncode == 1
    assert "NOT_SET" in printed


def test_the_engine_without_marker_is_never_started(start: Callable[..., Supervised], directory: Path) -> None:
    (directory / "model" / READY_FILE).unlink()
    supervised = start()
    printed = supervised.end()
    assert supervised.process.returncode == 1
    assert "never verified" in supervised.status().detail
    assert "server_args" not in printed


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_status(tmp_path / "status.json") is None
    for kernels in (None, (), ("2 files were compiled anew: a, b",)):
        status = ServerStatus(Phase.READY, "serving", {"load": 1.5, "total": 2.0}, kernels)
        write_status(tmp_path / "status.json", "r1", status)
        assert read_status(tmp_path / "status.json") == status
    assert json.loads((tmp_path / "status.json").read_text())["release_id"] == "r1"


def test_it_is_ready_after_a_long_prompt_too(start: Callable[..., Supervised]) -> None:
    supervised = start(options=("--prompt-tokens", "2304"))
    supervised.wait_ready()
    supervised.process.terminate()
    assert "a prompt of 2,304 tokens" in supervised.end()
