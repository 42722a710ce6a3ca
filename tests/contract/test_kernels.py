"""Kernels from the job that makes them to the server that is proved to use them, on a double of SGLang."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import psutil
import pytest

from slipway.errors import Crashed
from slipway.kernels.build import PORT
from slipway.kernels.cache import look_up
from slipway.kernels.key import KernelKey
from slipway.platforms.port import Job, Mount, Progress, ServerSpec
from tests.contract.conftest import APP, KEY_NAME, LONG_S, PYTHON, WEIGHTS, Place, wait_until
from tests.support.sglang_build import SMALL

DOUBLE = Path(__file__).parents[1] / "support" / "sglang_double"
PATHS = {"PYTHONPATH": f"{DOUBLE}:/root", "PATH": f"{Path(PYTHON).parent}:{os.defpath}"}
KEY = KernelKey({"engine": "sglang", "image": "image-a"})
SERVING = ("python3", "-m", "sglang.launch_server", "--model-path", "${weights}/model", "--port")


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DOUBLE))  # for processes on this host; containers have it from `PATHS`
    place.platform.volume("weights").write("model/config.json", json.dumps(SMALL).encode())


def job(place: Place, **env: str) -> Job:
    order = {
        "model_dir": "${weights}/model",
        "manifest_digest": WEIGHTS,
        "key": KEY.digest,
        "parts": dict(KEY.parts),
        "argv": [*SERVING, PORT],
        "env": env,
        "served_name": "glm",
        "gpu": "H100",
        "tp_size": 1,
        "moe_runner_backend": None,
        "fp8_gemm_backend": None,
        "lengths": [64, 2500],
        "concurrency": 8,
        "startup_timeout_s": LONG_S,
        "deadline_s": LONG_S,
        "roots": str(place.scratch / "roots"),
    }
    mounts = (Mount("weights", "weights"), Mount("kernels", "kernels", read_only=False))
    return Job("precompile", "slipway.kernels.build:build", {"order": order}, mounts, env=PATHS)


def server(place: Place) -> ServerSpec:
    supervisor = (
        *("${python}", "-m", "slipway.engine.supervisor", "--release-id", "r1", "--model-dir", "${weights}/model"),
        *("--manifest-digest", WEIGHTS, "--port", "${port}", "--status-file", "${status}", "--health-timeout-s", "60"),
        *("--stop-grace-s", "5", "--api-key-env", KEY_NAME, "--kernels", "${kernels}", "--kernel-key", KEY.digest),
        *("--kernel-roots", str(place.scratch / "roots")),
    )
    return ServerSpec(
        release_id="r1",
        argv=(*supervisor, "--", *SERVING, "${port}"),
        env=PATHS,
        mounts=(Mount("weights", "weights"), Mount("kernels", "kernels")),
        secrets=(KEY_NAME,),
    )


def test_a_server_runs_on_kernels_that_a_job_made(place: Place) -> None:
    told: list[Progress] = []
    result = place.platform.start_job(job(place)).wait(timeout_s=2 * LONG_S, progress=told.append)
    state = look_up(place.platform.volume("kernels"), KEY)
    assert (state.usable, result["shapes"]) == (True, 5)
    assert told[-1].note.startswith("first start: burst of 8")

    deployment = place.platform.deploy(APP, server(place))
    status = place.platform.wait_ready(deployment, timeout_s=LONG_S)
    assert status.detail.startswith(f"serving; kernels: {result['units']} files unpacked in ")
    assert "none new since" in status.detail
    assert status.kernels == ()
    assert list(status.timings_s)[:2] == ["kernels", "imports"]
    assert status.timings_s["total"] == pytest.approx(
        sum(seconds for phase, seconds in status.timings_s.items() if phase != "total")
    )
    body = {"messages": [{"role": "user", "content": "hello " * 4000}], "temperature": 1.0}
    answer = httpx.post(f"{deployment.url}/v1/chat/completions", json=body, headers=place.headers(), timeout=LONG_S)
    assert answer.status_code == 200
    assert place.platform.secret(KEY_NAME) not in place.platform.logs(deployment)
    assert "api_key='[redacted]'" in place.platform.logs(deployment)


def test_a_failure_comes_back_with_its_cause_and_leaves_the_volume_as_it_was(place: Place) -> None:
    with pytest.raises(Crashed, match=r"\[gpu-architecture\]"):
        place.platform.start_job(job(place, SGLANG_DOUBLE="dead-child")).wait(timeout_s=LONG_S, progress=lambda _: None)
    assert list(place.platform.volume("kernels").entries()) == []


def test_a_job_that_is_cancelled_leaves_no_compiler(place: Place) -> None:
    handle = place.platform.start_job(job(place, SGLANG_DOUBLE="hang", MARK=str(place.scratch)))

    def cancel(progress: Progress) -> None:
        if progress.done >= 1:
            assert engines_marked(str(place.scratch))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        handle.wait(timeout_s=LONG_S, progress=cancel)
    handle.cancel()
    wait_until(lambda: not engines_marked(str(place.scratch)))


def engines_marked(mark: str) -> list[int]:
    """Pids of the double's processes that were started with this mark in their environment."""
    return [process.pid for process in psutil.process_iter() if is_engine(process, mark)]


def is_engine(process: psutil.Process, mark: str) -> bool:
    try:
        return "sglang" in " ".join(process.cmdline()) and process.environ().get("MARK") == mark
    except psutil.Error:  # gone meanwhile
        return False
