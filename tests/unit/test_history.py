"""The history of releases: which are chosen, what a figure did, and which release served before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from slipway.errors import Misconfigured
from slipway.records import history
from slipway.records.ledger import Ledger
from slipway.records.plots.trend import trend_svg
from slipway.records.record import Outcome, ReleaseRecord
from slipway.units import utc_now
from tests.support.records import AT, began, promoted
from tests.support.stage_platform import MemoryPlatform

FIGURE = "ttft_s.p50@chat"


def ledger_of(*records: ReleaseRecord) -> Ledger:
    ledger = Ledger(MemoryPlatform())  # type: ignore[arg-type]  # it has the part of the port that ledgers use
    for record in records:
        ledger.save(record)
    return ledger


def test_filters_and_the_newest() -> None:
    records = [began(), *(promoted(number) for number in (1, 2, 3)), promoted(4, outcome=Outcome.REJECTED)]

    def ids(**wanted: object) -> list[str]:
        return [record.release_id[-4:] for record in history.chosen(records, **wanted)]  # type: ignore[arg-type]

    assert ids() == ["0000", "0001", "0002", "0003", "0004"]
    assert ids(outcome=Outcome.PROMOTED) == ["0001", "0002", "0003"]
    assert ids(outcome=Outcome.PROMOTED, last=2) == ["0002", "0003"]
    assert ids(since=AT + timedelta(hours=3)) == ["0003", "0004"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T13:30", datetime(2026, 11, 22, 13, 30, tzinfo=UTC)),
        ("2026-11-22T13:30+01:00", datetime(2026, 11, 22, 12, 30, tzinfo=UTC)),
    ],
)
def test_since_a_date(text: str, moment: datetime) -> None:
    assert history.parse_since(text) == moment


@pytest.mark.parametrize(("text", "ago"), [("12h", timedelta(hours=12)), ("7d", timedelta(7)), ("2w", timedelta(14))])
def test_since_an_age(text: str, ago: timedelta) -> None:
    assert abs(utc_now() - ago - history.parse_since(text)) < timedelta(minutes=5)


@pytest.mark.parametrize("text", ["", "yesterday", "7x", "-7d", "2026-13-01", "99999999d"])
def test_since_nonsense_is_refused_in_words(text: str) -> None:
    with pytest.raises(Misconfigured, match="is no date and no age"):
        history.parse_since(text)


def test_trend_has_values_with_bounds_of_the_releases_that_have_the_figure() -> None:
    points = history.trend([began(), promoted(1), promoted(2)], FIGURE)
    assert [point.release_id[-4:] for point in points] == ["0001", "0002"]
    assert all(point.low is not None and point.low <= point.value for point in points)
    assert [point.value for point in history.trend([began(cost_usd=2.0)], "cost_usd")] == [2.0]
    assert [point.value for point in history.trend([promoted()], "took_s")] == [40.0]


def test_unknown_figure_is_refused_with_the_nearest() -> None:
    with pytest.raises(Misconfigured, match=r"Did you mean 'ttft_s\.p50@chat'\?"):
        history.trend([promoted()], "ttft_s_p50@chat")
    with pytest.raises(Misconfigured, match="None of them"):
        history.trend([], FIGURE)


def test_points_are_joined_where_they_compare() -> None:
    other = promoted(3, comparison_keys={"chat": "elsewhere"})
    points = history.trend([promoted(1), promoted(2), other, promoted(4)], FIGURE)
    assert history.joined(points) == [True, True, False, False]
    assert history.joined([]) == []


def test_sparkline() -> None:
    assert history.sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert history.sparkline([2.0, 2.0]) == "▄▄"
    assert history.sparkline([]) == ""


def test_table_has_a_row_a_release_and_a_column_a_figure() -> None:
    table = history.frame([began(), promoted()])
    assert list(table["outcome"]) == ["running", "promoted"]
    assert table[FIGURE].isna().tolist() == [True, False]
    assert table["took_s"].iloc[1] == 40.0
    assert history.frame([]).empty


def test_the_release_before_is_the_version_that_served() -> None:
    first, second = promoted(1), promoted(2)
    rejected = promoted(3, outcome=Outcome.REJECTED, version=None)
    ledger = ledger_of(first, second, rejected)

    def before(record: ReleaseRecord) -> str | None:
        found = history.release_before(ledger, record)
        return found.release_id if found else None

    assert before(promoted(4, previous_version=2)) == second.release_id
    assert before(promoted(4, previous_version=1)) == first.release_id
    assert before(promoted(4, previous_version=9)) == second.release_id  # a version that a roll back made
    assert before(second) == first.release_id
    assert before(first) is None


def test_trend_is_drawn_with_outcomes_and_units() -> None:
    other = promoted(3, comparison_keys={"chat": "elsewhere"}, outcome=Outcome.REJECTED)
    points = history.trend([promoted(1), promoted(2), other], FIGURE)
    image = trend_svg(FIGURE, points, lambda value: f"{1000 * value:.1f} ms")
    words = " ".join("".join(node.itertext()) for node in ET.fromstring(image).iter("{http://www.w3.org/2000/svg}text"))
    for word in (FIGURE, "promoted", "rejected", " ms", "do not compare"):
        assert word in words
    assert trend_svg(FIGURE, [], str)
    assert trend_svg(FIGURE, history.trend([promoted(outcome=outcome) for outcome in Outcome], FIGURE), str)
