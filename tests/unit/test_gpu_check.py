"""What the check on a GPU tells of its findings, and the profile that it releases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from scripts import gpu_check
from scripts.gpu.lost_ranks import ranks
from slipway.errors import Misconfigured
from slipway.profile import load_profile

SUMMARY = {"p50": 0.05}
FOUND: dict[str, Any] = {
    "machine": {"gpu": "NVIDIA H100 80GB HBM3", "architecture": "sm_90"},
    "precompile": {"message": "1002 units", "seconds": 618.9},
    "second_run": {"status": "skipped", "message": "1002 units for this very key"},
    "other_gpu": "Kernels are to be made for B200 (sm_100), but this machine has an H100.",
    "start_s": {"imports": 13.0, "graphs": 9.1},
    "start_kernels": "serving; kernels: 1002 files unpacked in 1.2 s, none new since",
    "first_requests_s": {"short, sampled": 0.15},
    "measured": [
        {"streams": 1, "ttft_s": SUMMARY, "tpot_s": SUMMARY, "accept_length": {"p50": 3.3}, "valid": True},
        {
            "streams": 16,
            "ttft_s": None,
            "tpot_s": None,
            "accept_length": None,
            "valid": False,
            "invalid_because": ["x"],
        },
    ],
    "gates": {
        "drift": [],
        "kernels": ["2 files were compiled anew: a, b"],
        "probes": [
            {"check": "keys.server-info", "outcome": "broken", "detail": "the API key stands in it"},
            {"check": "stream.done", "outcome": "ok", "detail": ""},
        ],
    },
    "memory": {"planned": None, "reported": {"weight": 0.89}, "pool_tokens": 64},
    "killed_rank": {"rank": "sglang::scheduler_TP1", "seconds": 5.0, "phase": "crashed", "detail": "ended by SIGQUIT"},
    "stopped_rank": {"rank": "sglang::scheduler_TP1", "seconds": 31.0, "phase": "crashed", "detail": "it hangs"},
}


def test_findings_are_told_line_by_line() -> None:
    told = dict(gpu_check.rows(FOUND))
    assert told["machine"] == "NVIDIA H100 80GB HBM3, sm_90"
    assert told["second run"].startswith("skipped: 1002 units")
    assert told["1 streams"] == "TTFT 50.0 ms, TPOT 50.0 ms, accept length 3.30; valid"
    assert told["16 streams"] == "TTFT none, TPOT none, accept length none; ['x']"
    assert (told["configuration drift"], told["conformance"]) == ("none", "2 checks, 1 broken")
    assert told["  keys.server-info"] == "the API key stands in it"
    assert told["engine's memory"] == "weight 0.89"
    assert told["sglang::scheduler_TP1 killed"] == "crashed after 5.0 s: ended by SIGQUIT"
    assert told["sglang::scheduler_TP1 stopped"] == "crashed after 31.0 s: it hangs"


def test_findings_are_kept_from_step_to_step(tmp_path: Path) -> None:
    findings = gpu_check.Findings(tmp_path / "figures.json")
    findings.add("machine", {"gpu": "H100"})
    findings.add("start_s", {"total": 45.4})
    kept = orjson.loads((tmp_path / "figures.json").read_bytes())
    assert kept == {"machine": {"gpu": "H100"}, "start_s": {"total": 45.4}}


def test_a_host_without_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "describe_machine", dict)
    with pytest.raises(Misconfigured, match="no GPU on this host"):
        gpu_check._machine()


def test_the_profile_asks_for_a_gpu_of_this_host() -> None:
    profile = load_profile(str(Path(gpu_check.__file__).parents[1] / gpu_check.PROFILE))
    assert (profile.platform, profile.engine.kind, profile.hardware.gpu) == ("local", "sglang", "H100")
    assert gpu_check.ANOTHER_GPU["H100"] == "B200"
    assert max(profile.warmup.prompt_tokens) > 2048


def test_the_same_on_other_gpus() -> None:
    profile = load_profile(str(Path(gpu_check.__file__).parents[1] / gpu_check.PROFILE))
    two = gpu_check.on_gpus(profile, "H200", 2)
    assert (two.hardware.gpu, two.hardware.gpu_count, two.engine.tp_size) == ("H200", 2, 2)
    assert gpu_check.on_gpus(profile, None, None) == profile


ENGINE = """
import socket, subprocess
listening = socket.create_server(("127.0.0.1", 0))
titles = ("sglang::scheduler_TP1", "sglang::detokenizer", "sglang::scheduler_TP0")
children = [subprocess.Popen([title, "60"], executable="/bin/sleep") for title in titles]
print(listening.getsockname()[1], flush=True)
children[0].wait()
for child in children:
    child.kill()
"""


@pytest.fixture
def engine_port() -> Iterator[int]:
    """A process that listens, with two ranks below it, and another child."""
    with subprocess.Popen([sys.executable, "-c", ENGINE], stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout
        port = int(engine.stdout.readline())
        yield port
        ranks(port)[-1].kill()


def test_the_ranks_of_an_engine_are_found_by_its_port(engine_port: int) -> None:
    assert [rank.cmdline()[0] for rank in ranks(engine_port)] == [
        "sglang::scheduler_TP0", "sglang::scheduler_TP1",
    ]  # fmt: skip


def test_a_port_without_ranks_is_told() -> None:
    with pytest.raises(Misconfigured, match="No sglang::scheduler listens on port 1"):
        ranks(1)
