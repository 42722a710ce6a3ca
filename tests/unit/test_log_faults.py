"""Faults in logs: none in real ones that went well; each deadly one found at its line, with its cause."""

from __future__ import annotations

import pytest

from slipway.engine.log_faults import CAUSES, KEY_REFUSED, Fault, FaultWatch
from slipway.errors import Crashed
from slipway.preflight.rules import RULES
from tests.support.sglang_logs import STARTS, timed_lines

SCHEDULER = "[2026-11-22 11:02:35 TP0] Scheduler hit an exception: Traceback (most recent call last):"
WHERE = '  File "/opt/sglang/srt/managers/scheduler.py", line 3610, in run_scheduler_process'
SIGQUIT = "[2026-11-22 11:02:36] Received sigquit from a child process. It usually means the child failed."

UNFORESEEN = {
    *("illegal-address", "gpu-architecture", "gpu-not-usable", "disk-full", "collective", "weights-unreadable"),
    *("rank-lost", "architecture-unknown", "port-taken", "key-refused", "hang", "compile-timeout"),
}
"""Faults that no rule can see in a profile."""


def first_fault(*lines: str) -> tuple[int, Fault] | None:
    watch = FaultWatch()
    return next(((number, fault) for number, line in enumerate(lines) if (fault := watch.read(line))), None)


@pytest.mark.parametrize("name", [*STARTS, "compile"])
def test_real_logs_that_went_well_have_no_fault(name: str) -> None:
    watch = FaultWatch(KEY_REFUSED)
    assert [line.text for _, line in timed_lines(name) if watch.read(line.text)] == []


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ("flag-refused", ["launch_server.py: error: unrecognized arguments: --nsa-decode-backend trtllm"]),
        ("flag-refused", ["launch_server.py: error: argument --kv-cache-dtype: invalid choice: 'bf8'"]),
        ("weights-do-not-fit", [SCHEDULER, WHERE,
                            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. "]),
        ("fraction-too-high", [SCHEDULER, WHERE, "torch.OutOfMemoryError: CUDA out of memory."]),
        ("deep-gemm-illegal-address", [SCHEDULER, WHERE,
                                      "RuntimeError: CUDA driver error (/deep_gemm/jit/runtime_utils.hpp:143): "
                                      "CUDA_ERROR_ILLEGAL_ADDRESS"]),
        ("illegal-address", [SCHEDULER, WHERE,
                             "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"]),
        ("gpu-architecture", [SCHEDULER, WHERE,
                              "RuntimeError: CUDA error: no kernel image is available for execution on the device"]),
        ("gpu-not-usable", [SCHEDULER, WHERE, "RuntimeError: No CUDA GPUs are available"]),
        ("disk-full", [SCHEDULER, WHERE, "OSError: [Errno 28] No space left on device: '/cache/kernel.cu'"]),
        ("image-without-compiler", ["nvcc fatal   : Unsupported gpu architecture 'compute_100f'", SCHEDULER, WHERE,
                             "RuntimeError: Assertion error: exit_code == 0"]),
        ("collective", [SCHEDULER, WHERE, "torch.distributed.DistBackendError: NCCL error in: a.cpp:94, unhandled"]),
        ("rank-lost", [SCHEDULER, WHERE,  # as it came when one of two ranks was killed
                       "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Read error "
                       "[127.0.0.1]:7876: Connection reset by peer"]),
        ("rank-lost", [SCHEDULER, WHERE, "torch.distributed.DistBackendError: NCCL error in: a.cpp:94, "
                       "ncclRemoteError: A call failed possibly due to a network error or a remote process "
                       "exiting prematurely."]),
        ("weights-unreadable", [SCHEDULER, WHERE,
                                "safetensors_rust.SafetensorError: Error while deserializing header"]),
        ("port-taken", ["[2026-11-22 11:02:36] ERROR:    [Errno 98] error while attempting to bind on address "
                        "('0.0.0.0', 8000): address already in use"]),
        ("hang", ["[2026-11-22 11:02:36 TP0] Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=False)"]),
        ("compile-timeout", ["TimeoutError: DeepGEMM Kernels compilation timeout."]),
        ("fraction-too-high", ["Process Process-1:", "Traceback (most recent call last):", WHERE,
                        "torch.OutOfMemoryError: CUDA out of memory."]),
        ("unknown", [SIGQUIT]),
    ],
)  # fmt: skip
def test_fault_is_found_at_its_line_and_named(rule: str, lines: list[str]) -> None:
    found = first_fault("[2026-11-22 11:02:30] Load weight begin.", *lines, "never read")
    assert found is not None
    number, fault = found
    assert (number, fault.rule) == (len(lines), rule)
    assert fault.remedy


def test_the_cause_is_told_with_the_childs_death() -> None:
    """The scheduler's exception may be cut off; the line that ends the wait must still know it."""
    watch = FaultWatch()
    for line in ("torch.OutOfMemoryError: CUDA out of memory.", "  more words"):
        assert watch.read(line) is None  # by itself it may have been dealt with
    fault = watch.read(SIGQUIT)
    assert fault is not None
    assert fault.rule == "fraction-too-high"


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-22 11:02:35] server_args=ServerArgs(x='CUDA out of memory', y='Received sigquit from a child')",
        "[Autotuner]: tactic failed: CUDA out of memory, terminate called after throwing",
        "[2026-11-22 11:02:35] KV cache pool is full. Retract requests. #retracted_reqs: 1",
        "[2026-11-22 11:02:35 TP0] Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=True)",
        '[2026-11-22 11:02:35] INFO:     10.0.0.7:1 - "GET /v1/models HTTP/1.1" 401 Unauthorized',
        "ModuleNotFoundError: No module named 'openai_harmony'",
    ],
)
def test_words_alone_end_nothing(line: str) -> None:
    assert first_fault(line, "[2026-11-22 11:02:35] next") is None


def test_exception_that_was_dealt_with_explains_no_later_end() -> None:
    watch = FaultWatch()
    for line in (
        "[2026-11-22 11:02:40] Can not initialize OpenAIServingResponses, error: Traceback (most recent call last):",
        WHERE,
        "ModuleNotFoundError: No module named 'openai_harmony'",
        "[2026-11-22 11:02:41] INFO:     Application startup complete.",
    ):
        assert watch.read(line) is None
    assert watch.ended() is None
    fault = watch.read(SIGQUIT)
    assert fault is not None
    assert "sigquit" in fault.line


def test_end_without_trigger_is_explained_by_the_last_exception() -> None:
    watch = FaultWatch()
    for line in ("Traceback (most recent call last):", WHERE, "ValueError: Model architecture X is not supported"):
        assert watch.read(line) is None
    fault = watch.ended()
    assert fault is not None
    assert fault.line.startswith("ValueError")
    assert FaultWatch().ended() is None


def test_refused_compiler_is_found_where_it_is_looked_for() -> None:
    line = '[2026-11-22 11:02:35] INFO:     127.0.0.1:1 - "GET /v1/models HTTP/1.1" 401 Unauthorized'
    fault = FaultWatch(KEY_REFUSED).read(line)
    assert fault is not None
    assert fault.rule == "key-refused"


def test_fault_as_an_error_names_cause_rule_line_and_remedy() -> None:
    fault = first_fault("launch_server.py: error: unrecognized arguments: --nsa-decode-backend trtllm")
    assert fault is not None
    error = fault[1].error()
    assert isinstance(error, Crashed)
    for part in ("--nsa-decode-backend trtllm", "[flag-refused]", "engine.version"):
        assert part in str(error)


def test_every_cause_is_named_by_its_rule_or_by_itself() -> None:
    names = [cause.rule for cause in CAUSES]
    assert len(names) == len(set(names))
    assert set(names) - UNFORESEEN <= RULES.keys()
    assert not UNFORESEEN & RULES.keys()
