"""Reports: tables that stay tables whatever text is in them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from slipway.gates.verdict import Decision, Verdict
from slipway.preflight.difference import Change
from slipway.preflight.plan import Finding, Plan, Severity, Step
from slipway.profile import Level, Waiver, load_profile
from slipway.records.record import Outcome, ReleaseRecord, StageRecord, StageStatus
from slipway.records.report import VERDICT_COLUMNS, figures, gate_table, plan_table, report, show_figure, verdict_row
from slipway.stages.forecast import plan_without_platform

AT = datetime(2026, 11, 22, tzinfo=UTC)
PROFILE = load_profile("miniature")
NASTY = ["a | b", "a\nb", "> quoted", "<html><b>", "\\", "\\|", "a\\\\|b|", "", "\r\n|", "|", "`|`"]


def record(text: str = "because") -> ReleaseRecord:
    return ReleaseRecord(
        release_id="mini.1",
        app="mini",
        started_at=AT,
        outcome=Outcome.ROLLED_BACK,
        reason=text,
        profile=PROFILE.model_dump(mode="json"),
        commit="c" * 40,
        manifest_digest="d" * 64,
        kernel_key="k" * 32,
        plan=Plan(
            app="mini",
            commit="c" * 40,
            manifest_digest="d",
            kernel_key="k",
            live_version=3,
            steps=(
                Step(stage="sync weights", runs=True, why=text, size_bytes=1536, lasts_most_s=90, cost_usd=1.5),
                Step(stage="precompile kernels", runs=False, why=text),
            ),
            findings=(Finding(rule="r", severity=Severity.ERROR, message=text, remedy=text),),
        ),
        stages=[StageRecord(name="gates", status=StageStatus.FAILED, started_at=AT, seconds=75, message=text)],
        verdicts=[
            Verdict(
                gate="ttft_s.p95@chat",
                level=Level.REQUIRED,
                decision=Decision.INCONCLUSIVE,
                estimate=0.0123,
                low=0.01,
                limit="at most 0.5",
                n=64,
                reason=text,
            )
        ],
        figures={"chat": {"ttft_s_p50": 0.0123, "requests": 64.0, "accept_length": 2.8765}},
        version=4,
        previous_version=3,
        cost_usd=13.5,
        overhead_s=1.25,
    )


EMPTY = ReleaseRecord(release_id="mini.1", app="mini", started_at=AT, profile=PROFILE.model_dump(mode="json"))


def tables(markdown: str) -> list[list[list[str]]]:
    """The rows of each table, by a parser that is not ours."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        match token.type:
            case "table_open":
                found.append([])
            case "tr_open":
                found[-1].append([])
            case "inline" if token.level >= 4 and found:
                text = "".join(child.content for child in token.children or () if child.type != "html_inline")
                found[-1][-1].append(text)
    return found


def test_whole_report_says_what_matters() -> None:
    text = report(record())
    for part in ("# Release mini.1", "rolled back", "because", "4 (before: 3)", "$13.50", "12.3 ms", "1m15s", "2.877"):
        assert part in text
    assert [len(table) for table in tables(text)] == [10, 2, 2, 4]  # with their headers


@pytest.mark.parametrize("render", [report, plan_table, gate_table])
def test_record_that_has_nothing_yet(render: object) -> None:
    text = render(EMPTY)  # type: ignore[operator]
    assert "None" not in text
    assert "``" not in text


def test_gate_table_has_a_column_for_every_cell() -> None:
    ((header, row),) = tables(gate_table(record()))
    assert header == [*VERDICT_COLUMNS, "baseline", "reason"]
    assert dict(zip(header, row, strict=True)) == {
        "gate": "ttft_s.p95@chat",
        "level": "required",
        "verdict": "INCONCLUSIVE",
        "measured": "12.3 ms",
        "bounds": "10.0 ms to ?",
        "limit": "at most 0.5",
        "margin": "",
        "n": "64",
        "baseline": "",
        "reason": "because",
    }


def test_verdict_without_bounds_shows_none() -> None:
    bare = Verdict(
        gate="config_drift", level=Level.CRITICAL, decision=Decision.PASS, limit="no difference", n=1, reason=""
    )
    assert verdict_row(bare) == ("config_drift", "critical", "PASS", "", "", "no difference", "", "1")


def test_margins_are_in_the_unit_of_the_figure_and_ratios_in_points() -> None:
    def margin(gate: str) -> str:
        verdict = Verdict(
            gate=gate, level=Level.REQUIRED, decision=Decision.PASS, limit="", margin=0.05, n=1, reason=""
        )
        return verdict_row(verdict)[VERDICT_COLUMNS.index("margin")]

    assert [margin(gate) for gate in ("ttft_s.p50@chat", "tpot_s.p50.baseline@chat", "error_rate.share@chat")] == [
        "50.0 ms",
        "5.0 points",
        "0.05",
    ]


def test_rules_are_told_once_with_the_gates_they_decide() -> None:
    rules = {"a@x": "one rule", "b@x": "one rule", "c": "another"}
    verdicts = [
        Verdict(gate=gate, level=Level.REQUIRED, decision=Decision.PASS, limit="", n=1, rule=rule, reason="")
        for gate, rule in rules.items()
    ]
    text = gate_table(record().model_copy(update={"verdicts": verdicts}))
    assert text.endswith("\n- a@x, b@x: one rule\n- c: another")


def test_plan_table() -> None:
    steps, findings = tables(plan_table(record()))
    assert steps[1:] == [
        ["sync weights", "run", "because", "1.5 KiB", "0.0 ms to 1m30s", "$0.00 to $1.50"],
        ["precompile kernels", "skip", "because", "", "", "$0.00"],
    ]
    assert findings[1] == ["error", "r", "because", "because"]


def test_plan_of_a_big_model_shows_what_it_can_carry_and_what_changes() -> None:
    planned = plan_without_platform(load_profile("glm51"))
    change = Change(field="engine.version", live="0.5.10", planned="0.5.11")
    text = plan_table(record().model_copy(update={"plan": planned.model_copy(update={"changes": (change,)})}))
    shown = tables(text)
    assert ["engine.version", "0.5.10", "0.5.11"] in shown[1]
    for word in ("KV pool", "705,344 tokens of 101,436 bytes", "physics allows", "image-not-pinned", "from 49 streams"):
        assert word in text


def test_waived_finding_shows_its_reason_and_last_day() -> None:
    waiver = Waiver(rule="r", reason="Known since March.", expires=date(2027, 3, 31))
    finding = Finding(rule="r", severity=Severity.ERROR, message="m", remedy="x", waiver=waiver)
    plan = record().plan
    assert plan is not None
    text = plan_table(record().model_copy(update={"plan": plan.model_copy(update={"findings": (finding,)})}))
    assert tables(text)[1][1] == ["waived", "r", "m", "Accepted until 2027-03-31: Known since March."]


def test_measured_tpot_is_shown_as_a_multiple_of_its_limit() -> None:
    """Twice the step that physics allows, at the accept length that was measured."""
    planned = plan_without_platform(load_profile("glm51"))
    assert planned.capacity is not None
    limit = planned.capacity.limits[0]
    measured = {"tpot_s_p50": 2 * limit.tpot_s * limit.accept_length / 2.0, "accept_length": 2.0, "ttft_s_p50": 1.0}
    shown = figures(record().model_copy(update={"plan": planned, "figures": {limit.workload: measured}}))
    assert shown.count("x of the limit") == 1
    assert "(2.0 x of the limit)" in shown


def check(text: str) -> None:
    for markdown in (report(record(text)), plan_table(record(text))):
        assert {len(row) for table in tables(markdown)[:1] for row in table} in ({2}, {6})
        for table in tables(markdown):
            assert len({len(row) for row in table}) == 1
        cells = [line.split("|")[1:] for line in markdown.splitlines() if line.startswith("|")]
        assert not any(cell.strip().startswith(">") for row in cells for cell in row)  # shown as a quote
    reason = tables(gate_table(record(text)))[0][1][-1]
    assert reason.split() == text.split() or "`" in text or "&" in text or "*" in text


@pytest.mark.parametrize("text", NASTY)
def test_text_cannot_break_a_table(text: str) -> None:
    check(text)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ab|\\<>\n\r #-", max_size=12))
def test_no_text_can_break_a_table(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    ("gate", "value", "shown"),
    [
        ("ttft_s.p50@chat", 0.0123, "12.3 ms"),
        ("tpot_s_p95", 1.5, "1.5 s"),
        ("accuracy.share@a", 0.98333, "0.9833"),
        ("requests", 64.0, "64"),
        ("x", None, ""),
        ("x", 0.0, "0"),
    ],
)
def test_figure_is_shown_in_its_unit(gate: str, value: float | None, shown: str) -> None:
    assert show_figure(gate, value) == shown
