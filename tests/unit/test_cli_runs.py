"""`slipway runs`, `show`, `compare` and `report` on a ledger of their own."""

from __future__ import annotations

import csv
import io
import json
import webbrowser
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from slipway.cli.main import app
from slipway.platforms.local import LocalPlatform
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome
from tests.support.records import began, promoted

FIGURE = "ttft_s.p50@chat"
IDS = [promoted(number).release_id for number in (1, 2, 3)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three releases, the last one rejected, and a run of another app that died."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    ledger = Ledger(LocalPlatform(tmp_path / "local"))
    for record in (
        promoted(1),
        promoted(2, cost_usd=0.75),
        promoted(3, outcome=Outcome.REJECTED, version=None),
        began(release_id="other.20261101T000000-0000", app="other", outcome=Outcome.INTERRUPTED),
    ):
        ledger.save(record)
    return tmp_path


def slipway(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def listed(*options: str) -> list[str]:
    return [record["release_id"] for record in json.loads(slipway("runs", "--json", *options).stdout)]


def test_runs_are_listed_newest_first_and_filtered() -> None:
    assert listed() == [*reversed(IDS), "other.20261101T000000-0000"]
    assert listed("--app", "slipway-miniature", "--last", "2") == IDS[:0:-1]
    assert listed("--outcome", "promoted") == [IDS[1], IDS[0]]
    assert listed("--outcome", "interrupted") == ["other.20261101T000000-0000"]
    assert listed("--since", "2026-11-22T15:30") == [IDS[2]]


def test_table_for_people() -> None:
    shown = slipway("runs").stdout
    for word in (*IDS, "promoted", "rejected", "40.0 s", "$0.750"):
        assert word in shown


def test_csv_has_every_figure() -> None:
    rows = list(csv.DictReader(io.StringIO(slipway("runs", "--csv", "--app", "slipway-miniature").stdout)))
    assert [row["release_id"] for row in rows] == IDS
    assert float(rows[0][FIGURE]) > 0


def test_trend_as_table_picture_and_json(tmp_path: Path) -> None:
    picture = tmp_path / "trend.svg"
    shown = slipway("runs", "--trend", "cost_usd", "--app", "slipway-miniature", "--plot", str(picture))
    assert shown.exit_code == 0, shown.output
    assert "▁█▁" in shown.stdout
    assert b"<svg" in picture.read_bytes()
    points = json.loads(slipway("runs", "--trend", FIGURE, "--json").stdout)
    assert [(point["release_id"], point["outcome"]) for point in points][-1] == (IDS[2], "rejected")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("runs", "--trend", "nosuch"), "There are accept_length"),
        (("runs", "--plot", "x.svg"), "Name a figure with --trend"),
        (("runs", "--trend", FIGURE, "--plot", "/nosuch/folder/x.svg"), "cannot be written"),
        (("runs", "--since", "whenever"), "Write 2026-11-22"),
        (("compare", "nosuch"), "There is no release"),
        (("report", "nosuch"), "There is no release"),
        (("report", "--out", "/nosuch/folder/x.html"), "cannot be written"),
        (("report", "--platform", "nosuch"), "no platform 'nosuch'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(arguments: tuple[str, ...], words: str) -> None:
    done = slipway(*arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_compare_as_tables_and_json() -> None:
    shown = slipway("compare", IDS[0], IDS[1]).stdout
    for word in (FIGURE, "gates decided otherwise: none", "what was changed: none", "$0.500", "$0.750", "+0.0 %"):
        assert word in shown
    found = json.loads(slipway("compare", IDS[0], "--json").stdout)
    assert (found["before"], found["now"], found["profile"]) == (IDS[0], IDS[2], [])


def test_report_is_written_where_it_is_said(home: Path, tmp_path: Path) -> None:
    done = json.loads(slipway("report", "--json").stdout)
    file = Path(done["file"])
    assert file.is_relative_to(home)
    assert done["size_bytes"] == file.stat().st_size
    assert f"Compared with {IDS[1]}" in file.read_text()  # the newest, beside what served before it
    assert slipway("report", IDS[0], "--out", str(tmp_path / "x.html")).exit_code == 0
    assert IDS[0] in (tmp_path / "x.html").read_text()


@pytest.mark.parametrize(("there_is_one", "words"), [(True, ""), (False, "there is no browser here")])
def test_report_is_opened(there_is_one: bool, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or there_is_one)
    done = slipway("report", "--open", "--out", str(tmp_path / "x.html"))
    assert opened == [(tmp_path / "x.html").as_uri()]
    assert words in done.stdout


def test_show_takes_latest() -> None:
    assert json.loads(slipway("show", "--json").stdout)["release_id"] == IDS[2]
