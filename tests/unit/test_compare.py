"""Two releases beside each other: what compares is compared, what does not is said, what was changed is named."""

from __future__ import annotations

import pytest

from slipway.gates.verdict import Decision
from slipway.profile import Profile
from slipway.profile.models import Hardware
from slipway.records import compare_rows
from slipway.records.compare import Comparison, Measured, compare, comparison_key_of, figures_of, options
from slipway.records.record import ReleaseRecord
from tests.support.records import PROFILE, began, promoted


def judged(estimate: float, low: float | None, high: float | None, decision: Decision = Decision.PASS) -> ReleaseRecord:
    """A release with this TTFT."""
    verdicts = [
        v.model_copy(update={"estimate": estimate, "low": low, "high": high, "decision": decision, "reason": "so"})
        for v in promoted().verdicts
        if v.gate == "ttft_s.p50@chat"
    ]
    return promoted(2, verdicts=verdicts)


def ttft(found: Comparison) -> tuple[float | None, bool | None, str]:
    (change,) = (each for each in found.figures if each.figure == "ttft_s.p50@chat")
    return change.change, change.apart, change.why_not


def test_a_release_beside_itself_differs_in_nothing() -> None:
    found = compare(promoted(), promoted())
    assert (found.verdicts, found.identity, found.profile, found.argv) == ((), (), (), ())
    assert {each.change for each in found.figures} <= {0.0, None}
    assert len(found.figures) > 20


@pytest.mark.parametrize(
    ("before", "now", "change", "apart"),
    [
        ((0.1, 0.09, 0.11), (0.2, 0.18, 0.22), 1.0, True),
        ((0.2, 0.18, 0.22), (0.1, 0.09, 0.11), -0.5, True),
        ((0.1, 0.09, 0.11), (0.11, 0.1, 0.12), 0.1, False),
        ((0.1, 0.09, 0.11), (0.12, 0.11, 0.13), 0.2, False),
        ((0.1, None, 0.11), (0.2, 0.18, 0.22), 1.0, None),
        ((0.0, 0.0, 0.1), (0.2, 0.18, 0.22), None, True),
    ],
)
def test_figures_change_relative_to_the_first(
    before: tuple[float, float, float], now: tuple[float, float, float], change: float | None, apart: bool | None
) -> None:
    found_change, found_apart, why_not = ttft(compare(judged(*before), judged(*now)))
    assert found_change == (None if change is None else pytest.approx(change))
    assert (found_apart, why_not) == (apart, "")


def test_figures_of_other_requests_do_not_compare() -> None:
    other = promoted(2, comparison_keys={**promoted().comparison_keys, "chat": "local/0xcpu/16 streams/abc"})
    found = compare(promoted(), other)
    change, apart, why_not = ttft(found)
    assert (change, apart) == (None, None)
    assert "measured differently" in why_not
    assert "16 streams" in why_not
    (tools,) = (each for each in found.figures if each.figure == "tool_calls.share@tools")
    assert (tools.change, tools.why_not) == (0.0, "")


def test_without_keys_nothing_compares() -> None:
    bare = promoted(comparison_keys={})
    assert "unknown, then unknown" in ttft(compare(bare, bare))[2]


def test_cold_starts_compare_on_the_same_hardware_only() -> None:
    gpu = PROFILE.model_copy(update={"hardware": Hardware(gpu="B200", gpu_count=1)})

    def cold(profile: Profile) -> str:
        figures = compare(promoted(), promoted(2, profile=profile)).figures
        return next(each.why_not for each in figures if each.figure == "cold_start_s.total")

    assert cold(PROFILE) == ""
    assert "B200" in cold(gpu)


def test_a_figure_that_one_lacks_is_shown_without_a_change() -> None:
    found = compare(began(), promoted())
    assert all(each.before is None and each.change is None and each.why_not == "" for each in found.figures)
    assert {each.before_s for each in found.stages} == {None}
    assert {(each.before, each.now) for each in found.verdicts} >= {(None, Decision.PASS)}


def test_verdicts_decided_otherwise_are_named_with_the_reason() -> None:
    found = compare(judged(0.1, 0.09, 0.11), judged(0.9, 0.8, 1.0, Decision.FAIL))
    assert [(each.gate, each.before, each.now, each.reason) for each in found.verdicts] == [
        ("ttft_s.p50@chat", Decision.PASS, Decision.FAIL, "so")
    ]


def test_changes_of_profile_identity_and_command_line() -> None:
    engine = PROFILE.engine.model_copy(update={"max_running_requests": 8})
    now = promoted(
        2,
        profile=PROFILE.model_copy(update={"engine": engine}),
        commit="f" * 40,
        argv=["python", "--tp-size", "2", "--fast"],
    )
    found = compare(promoted(argv=["python", "--tp-size", "1", "--slow"]), now)
    assert [(each.field, each.before, each.now) for each in found.argv] == [
        ("--tp-size", "1", "2"),
        ("--fast", "-", "set"),
        ("--slow", "set", "-"),
    ]
    assert [(each.field, each.now) for each in found.profile] == [("engine.max_running_requests", "8")]
    assert [each.field for each in found.identity] == ["commit"]


def test_the_release_id_in_a_command_line_is_no_difference() -> None:
    first, second = promoted(1), promoted(2)
    lines = [record.model_copy(update={"argv": ["x", "--release-id", record.release_id]}) for record in (first, second)]
    assert options(lines[0]) == options(lines[1]) == {"--release-id": "${release}"}


def test_figures_take_their_bounds_from_verdicts() -> None:
    figures = figures_of(promoted())
    assert figures["ttft_s.p50@chat"].high is not None
    assert figures["ttft_s.p95@chat"].high is None
    assert figures["cold_start_s.total"] == Measured(estimate=3.75)  # without `total`, as the gate has it
    assert not [name for name in figures if "requests" in name or "failed" in name or "baseline" in name]


def test_rows_say_bounds_changes_and_why_there_is_none() -> None:
    rows = dict.fromkeys(compare_rows.figure_rows(compare(judged(0.1, 0.09, None), judged(0.2, 0.18, 0.22))))
    assert ("ttft_s.p50@chat", "100.0 ms (90.0 ms to ?)", "200.0 ms (180.0 ms to 220.0 ms)", "+100.0 %", "") in rows
    stages = compare_rows.stage_rows(compare(promoted(), promoted(2, cost_usd=1.25)))
    assert stages[-1] == ("all", "", "", "$0.500", "$1.25")
    assert comparison_key_of(began(), "ttft_s.p50@chat") == ""
