"""What the comparison of clients makes of its runs: errors, medians, goals."""

from __future__ import annotations

import json

import pytest

from benchmarks.client_report import Cell, Row, Run, as_json, errors_of, goals, remark, table
from benchmarks.peers.figures import Figures, Spread, of_truth
from benchmarks.peers.process import Cost
from benchmarks.truth_server import Summary, TrueRequest

TRUTH = Figures(4, Spread(0.2, 0.2, 0.3), Spread(0.01, 0.01, 0.01), 0.02)


def run(ttft_error_s: float = 0.0, *, cpu_s: float = 1.0, events: int = 1000, complaints: tuple[str, ...] = ()) -> Run:
    ttft = Spread(*(value + ttft_error_s for value in (0.2, 0.2, 0.3)))
    told = Figures(4, ttft, TRUTH.tpot_s, TRUTH.event_gap_p99_s, cpu_s, complaints)
    return Run(told, TRUTH, Cost(2.0, 99.0), Summary(4, events, events, 0, 1, 1, 1, 0.1))


def row(client: str, *runs: Run, streams: int = 48) -> Row:
    baseline = run(cpu_s=0.5, events=0)
    return Row(Cell(streams, "single"), client, list(runs), [errors_of(each, baseline) for each in runs])


def missed(*rows: Row) -> list[str]:
    return [goal.text for goal in goals(rows) if not goal.reached]


def test_truth_by_definition() -> None:
    request = TrueRequest(
        id="a",
        complete=True,
        kernel_stamp=True,
        arrival_ns=10**9,
        event_ns=(12 * 10**8, 13 * 10**8, 18 * 10**8),
        tokens=(4, 5, 10),
    )
    single = TrueRequest(id="b", complete=True, kernel_stamp=True, arrival_ns=0, event_ns=(4 * 10**8,), tokens=(3,))
    truth = of_truth([request, single])
    assert truth.ttft_s.mean == pytest.approx((0.2 + 0.4) / 2)
    assert truth.tpot_s is not None
    assert truth.tpot_s.p50 == pytest.approx(0.6 / (10 - 4))
    assert truth.event_gap_p99_s == pytest.approx(0.5, rel=0.02)


def test_errors_are_told_minus_true_and_cpu_is_marginal() -> None:
    errors = errors_of(run(0.05), run(cpu_s=0.5, events=500))
    assert errors.ttft_s.p99 == pytest.approx(0.05)
    assert errors.tpot_share is not None
    assert errors.tpot_share.mean == 0
    assert errors.cpu_per_event_s == pytest.approx(0.5 / 500)
    assert errors_of(run(0.05), run(cpu_s=1.5, events=500)).cpu_per_event_s is None


def test_the_median_goes_by_size_and_keeps_its_sign() -> None:
    shown = row("slipway", run(0.03), run(-0.02), run(0.001))
    assert shown.median(lambda errors: errors.ttft_s.mean) == pytest.approx(-0.02)


def test_goals_name_the_cell_and_both_figures() -> None:
    cheap = run(cpu_s=0.51)
    assert not missed(row("slipway", cheap), row("sglang", run(0.001)))
    late = missed(row("slipway", run(0.002, cpu_s=0.51)), row("sglang", run(0.001)))
    assert late == [
        "48 streams, single: TTFT mean ms +2.00, at most 0.1",
        "48 streams, single: TTFT mean ms +2.00, sglang's +1.00",
    ]


def test_what_cannot_be_told_apart_counts_as_equal() -> None:
    ours, theirs = run(15e-6, cpu_s=0.51), run(0.0)
    assert not missed(row("slipway", ours), row("sglang", theirs))


def test_at_512_streams_an_invalid_run_is_an_answer() -> None:
    told = Figures(4, TRUTH.ttft_s, Spread(0.02, 0.02, 0.02), 0.02, 0.5)
    valid = Run(told, TRUTH, Cost(2.0, 1.0), run().server)
    assert missed(row("slipway", valid, streams=512))
    invalid = Run(
        Figures(4, TRUTH.ttft_s, told.tpot_s, 0.02, 0.5, ("The client was slow.",)), TRUTH, Cost(2.0, 1.0), run().server
    )
    assert not missed(row("slipway", invalid, streams=512))
    assert remark(row("slipway", invalid, streams=512)) == "1 of 1 invalid"


def test_a_client_without_runs_is_a_row_that_says_why() -> None:
    failed = Row(Cell(48, "single"), "aiperf", failure="not installed: no such package")
    rows = [row("slipway", run(cpu_s=0.51)), failed]
    assert remark(failed) == "not installed: no such package"
    assert table(rows).row_count == 2
    told = json.loads(json.dumps(as_json(rows, {}, {})))
    assert told["rows"][1]["failure"] == "not installed: no such package"
    assert told["rows"][0]["runs"][0]["server"]["events"] == 1000
