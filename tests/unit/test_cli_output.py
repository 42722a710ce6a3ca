"""What commands print: words from logs and errors come out as they are, whatever brackets they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cli import output
from slipway.errors import Crashed
from slipway.gates.verdict import Decision, Level, Verdict

SAID = "RuntimeError: [/pytorch/third_party/gloo/pair.cc:538] Read error [127.0.0.1]:7876 [bold]x[/]"
"""Of an engine's log: rich takes the first bracket for the end of a style, and fails."""


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.out, "width", 200)
    monkeypatch.setattr(output.err, "width", 200)


def test_words_of_a_log_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("[/a]", "b", rows=[("stage", SAID)], title="of [/model]")
    output.say("[bold]crashed[/]:", SAID)
    output.out.print(SAID)
    told = capsys.readouterr().out
    assert told.count(SAID) == 3
    assert "[/a]" in told
    assert "of [/model]" in told
    assert "crashed: Runtime" in told


def test_an_error_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_error(Crashed(SAID, remedy="Read [/var/log]."), as_json=False)
    told = capsys.readouterr().err
    assert f"Crashed: {SAID}" in told
    assert "What to do: Read [/var/log]." in told


def test_a_verdict_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict(
        gate="conformance", level=Level.CRITICAL, decision=Decision.FAIL, estimate=1, low=None, high=None,
        limit="none", margin=None, n=1, baseline=None, rule="", reason=SAID,
    )  # fmt: skip
    output.show_verdicts([verdict])
    assert f"conformance: {SAID}" in capsys.readouterr().out


@given(st.text(alphabet="[]/\\ab ="))
def test_no_words_break_a_line_that_says_what_is_done(words: str) -> None:
    with output.working(words, output.err) as tell:
        tell(words)
