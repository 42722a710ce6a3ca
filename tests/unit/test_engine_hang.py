"""The hang watch: standing still is suspicious, and only what answers nothing hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.engine import hang
from slipway.engine.hang import HangWatch, Pulse, read_pulse, watch_for_hang
from slipway.engine.readiness import Target

RECORDED = Path(__file__).parents[1] / "fixtures" / "sglang"
IDLE, BUSY = Pulse(0, 5), Pulse(3, 5)


def test_real_metrics_are_read() -> None:
    pulse = read_pulse((RECORDED / "metrics_1.body").read_text())
    # one request running, none waiting; 6912 + 1264 + 832 + 6125 + 837 tokens and 487 gaps
    assert pulse == Pulse(1, 6912 + 1264 + 832 + 6125 + 837 + 487)


@pytest.mark.parametrize("page", ["", "# HELP nothing\n", "sglang:num_running_reqs NaN-ish\n".replace("-ish", "")])
def test_pages_without_figures(page: str) -> None:
    read_pulse(page)  # no error


@pytest.mark.parametrize(
    ("pulses", "still_s"),
    [
        ([BUSY, BUSY, BUSY], 20),
        ([BUSY, BUSY, Pulse(3, 6)], 0),
        ([BUSY, IDLE, IDLE], 20),
        ([IDLE, IDLE, Pulse(0, 6)], 0),
        ([None, None, None], 30),
        ([BUSY, None, None], 20),
        ([None, IDLE], 0),
        ([IDLE, None, IDLE], 20),
    ],
)
def test_standing_still(pulses: list[Pulse | None], still_s: float) -> None:
    watch = HangWatch(0.0)
    for number, pulse in enumerate(pulses, start=1):
        seen = watch.still_s(pulse, 10.0 * number)
    assert seen == still_s


def looked(monkeypatch: pytest.MonkeyPatch, *, pulses: list[Pulse | None], problems: list[str | None]) -> str | None:
    """What a watch of 25 s says that looks every 10 s at these pulses and problems; the last of each stays."""
    clock = [0.0]

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        return clock[0] > 100

    def following(values: list[object]) -> object:
        return values.pop(0) if len(values) > 1 else values[0]

    monkeypatch.setattr(hang.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(hang, "_pulse", lambda _: following(pulses))
    monkeypatch.setattr(hang, "inference_problem", lambda *_: following(problems))
    crashed = watch_for_hang(Target(1, None), after_s=25, wait=wait)
    return crashed.message if crashed else None


def test_hang_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = looked(monkeypatch, pulses=[BUSY], problems=["/generate gave no completion"])
    assert told is not None
    assert "3 requests pending, no token for 30 s, and /generate gave no completion" in told


def test_stale_counters_of_an_engine_that_answers_are_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(monkeypatch, pulses=[BUSY], problems=[None]) is None


def test_busy_engine_that_lets_the_proof_wait_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    moving: list[Pulse | None] = [BUSY, BUSY, BUSY, BUSY, *(Pulse(3, 6 + n) for n in range(20))]
    assert looked(monkeypatch, pulses=moving, problems=["late"]) is None


def test_engine_that_has_nothing_to_do_and_answers_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(monkeypatch, pulses=[IDLE], problems=[None]) is None


def test_scheduler_that_hangs_before_it_counts_a_request_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = looked(monkeypatch, pulses=[IDLE], problems=["/generate gave no completion"])
    assert told is not None
    assert "0 requests pending, no token for 30 s, and /generate gave no completion" in told


def test_server_that_tells_nothing_and_answers_nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    told = looked(monkeypatch, pulses=[None], problems=["/generate gave no completion"])
    assert told is not None
    assert "/metrics does not answer" in told
