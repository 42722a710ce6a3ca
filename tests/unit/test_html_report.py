"""The report as one HTML file: whole for any record, closed to any text, and asking nothing of any network."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from slipway.gates.verdict import Decision
from slipway.records.approval import Approval
from slipway.records.html import render
from slipway.records.html.stored import page_of, store
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome, ReleaseRecord, StageStatus
from slipway.stages.names import Stage
from tests.support.measure_samples import seen, taken
from tests.support.records import AT, EVIDENCE, PROFILE, SAMPLES, began, plan, promoted, stage
from tests.support.stage_platform import MemoryPlatform

NASTY = "<script>alert(1)</script> \"' & $x_1$ </style></svg> {{ 7 * 7 }} --> ]]>"
VOID = {"meta", "br", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """A page by a parser that is not ours: its words, ids, and whether every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src", "xlink:href", "action", "data"}:
                self.links.append(value or "")
            assert not name.startswith("on")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def failed_in(name: Stage, message: str = "boom") -> ReleaseRecord:
    """A run that ended in a stage."""
    stages = [stage(each, 5.0 * place) for place, each in enumerate(Stage) if each.value != name.value]
    before = [s for s in stages if s.started_at < stage(name, 5.0 * list(Stage).index(name)).started_at]
    failed = stage(name, 5.0 * len(before), status=StageStatus.FAILED, message=message, attempts=3)
    return promoted(
        outcome=Outcome.REJECTED,
        reason=message,
        stages=[*before, failed],
        verdicts=[],
        figures={},
        cold_start_s={},
        argv=[],
        version=None,
    )


RECORDS = {
    "promoted": promoted(),
    "promoted twice": promoted(2),
    "rolled back": promoted(outcome=Outcome.ROLLED_BACK),
    "running": promoted(outcome=Outcome.RUNNING, ended_at=None),
    "interrupted": began(outcome=Outcome.INTERRUPTED, reason="its process died"),
    "nothing yet": began(),
    "plan forbidden": failed_in(Stage.PLAN),
    "sync failed": failed_in(Stage.SYNC),
    "candidate crashed": failed_in(Stage.DEPLOY),
    "profile of another version": promoted(profile=PROFILE, commit="").model_copy(
        update={"profile": {"name": "old", "gates": [{"metric": "gone"}, 7], "engine": {}}}
    ),
    "hostile": promoted(
        reason=NASTY,
        plan=plan(NASTY),
        commit=NASTY,
        argv=[NASTY, f"--{NASTY}"],
        figures={NASTY: {"ttft_s_p50": 0.1, "x": float("nan")}},
        cold_start_s={NASTY: 1.0},
        server={"version": NASTY, "evil_version": NASTY},
        stages=[stage(NASTY, 0.0, message=NASTY, status=StageStatus.FAILED)],
        verdicts=[v.model_copy(update={"reason": NASTY}) for v in promoted().verdicts],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, promoted(), began()], ids=["first", "after one", "after a dead run"])
@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_any_run_gives_a_whole_page(record: ReleaseRecord, before: ReleaseRecord | None) -> None:
    for evidence in (None, EVIDENCE):
        text = render(record, evidence, before)
        page = Page(text)
        assert "None" not in page.text.replace("None.", "")
        assert len(page.ids) == len(set(page.ids))
        assert not [link for link in page.links if not link.startswith("#")]
        assert {link[1:] for link in page.links} <= set(page.ids)
        assert not {"script", "img", "iframe", "link", "object", "form"} & set(page.tags)
        assert len(text) < 2_000_000


def test_hostile_text_is_shown_as_it_is() -> None:
    page = Page(render(RECORDS["hostile"], EVIDENCE, promoted()))
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "49" not in re.findall(r"\{\{.*?\}\}|\b49\b", page.text)
    assert "$x_1$" in page.text


def test_outcome_comes_first_then_why() -> None:
    verdicts = [
        v.model_copy(update={"decision": Decision.FAIL, "reason": "too slow by far"})
        if v.gate == "ttft_s.p50@chat"
        else v
        for v in promoted().verdicts
    ]
    rejected = promoted(outcome=Outcome.REJECTED, reason="gates block", verdicts=verdicts, version=None)
    text = Page(render(rejected, EVIDENCE)).text
    places = [text.index(words) for words in ("rejected", "gates block", "ttft_s.p50@chat is FAIL")]
    assert places == sorted(places)
    assert "what served before serves on" in text
    assert "1 FAIL" in text
    assert "waived-rule was found and is accepted until 2027-03-31" in text


def test_failed_stage_is_named_with_its_message() -> None:
    text = Page(render(failed_in(Stage.VERIFY, "bytes differ"))).text
    assert "verify volume failed: bytes differ" in text
    assert "No gate was reached." in text
    assert "No candidate became ready." in text


def test_every_gate_with_a_figure_is_drawn_against_its_limit() -> None:
    text = render(promoted(), EVIDENCE)
    drawn = re.findall(r'role="img" aria-label="([^:"]+): (PASS|FAIL|INCONCLUSIVE)', text)
    measured = {v.gate: v.decision.value for v in promoted().verdicts if v.estimate is not None}
    assert dict(drawn) == {name: each for name, each in measured.items() if "." in name}  # the others are findings


def test_everything_needed_to_reproduce_is_there() -> None:
    record = promoted()
    text = Page(render(record)).text
    for words in (record.commit, record.manifest_digest, record.kernel_key, "0.5.12.post1", "--tp-size 1"):
        assert words in text
    assert f"slipway redeploy miniature.yaml --revision {record.commit}" in text
    assert "watchdog_timeout_s: 60.0" in text


def test_says_what_is_other_than_in_the_release_before() -> None:
    other = PROFILE.model_copy(update={"engine": PROFILE.engine.model_copy(update={"max_running_requests": 8})})
    text = Page(render(promoted(2, profile=other, argv=["engine", "--tp-size", "2"]), EVIDENCE, promoted())).text
    assert "engine.max_running_requests 16 8" in text
    assert "--tp-size 1 2" in text
    assert promoted().release_id in text


@pytest.mark.slow
def test_accuracy_pairs_are_drawn_where_there_is_a_baseline() -> None:
    right = {f"arithmetic-{number:05d}": True for number in range(120)}
    samples = SAMPLES | {"arithmetic": taken(PROFILE, "arithmetic", wrong=3)}
    evidence = seen(samples, baseline={"arithmetic": {"releases": ("a",), "right": right}})
    assert "in both 117 right, 0 wrong" in Page(render(promoted(), evidence)).text
    assert "no answers of an earlier release" in Page(render(promoted(), EVIDENCE)).text


def test_who_decided_is_told_with_their_reason() -> None:
    given = {"reasons": ["accuracy.drop is undecided"], "asked_at": AT, "deadline_s": 600.0}
    asked = Approval(**given, decided_at=AT + timedelta(seconds=90), choice="approve", decided_by="Ada", comment=NASTY)
    text = Page(render(promoted(approvals=[Approval(**given), asked]))).text
    assert f"accuracy.drop is undecided approve Ada 1m30s {NASTY}" in text
    assert "nobody decided" in text
    assert "Who decided" not in render(promoted())


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_words(outcome: Outcome) -> None:
    page = Page(render(promoted(outcome=outcome)))
    assert page.text.startswith(f"{outcome.value.replace('_', ' ')}: ")


@pytest.mark.slow
def test_the_same_record_gives_the_same_page() -> None:
    assert render(promoted(2), EVIDENCE, promoted()) == render(promoted(2), EVIDENCE, promoted())


def test_the_page_is_kept_beside_the_record() -> None:
    ledger = Ledger(MemoryPlatform())  # type: ignore[arg-type]  # it has the part of the port that ledgers use
    first, second = promoted(1, evidence=""), promoted(2, evidence="")
    for record in (first, second):
        ledger.save(record)
    path = store(ledger, second)
    assert path == f"reports/{second.release_id}.html"
    assert f"Compared with {first.release_id}" in page_of(ledger, second)


def test_long_runs_stay_readable() -> None:
    week = [stage(name, 0, seconds=timedelta(hours=9 + place).total_seconds()) for place, name in enumerate(Stage)]
    assert "hours since the start" in render(promoted(stages=week))
