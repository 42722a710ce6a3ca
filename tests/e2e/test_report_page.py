"""The report of a real release, opened from disk in a real browser: no request, no overflow, nothing that keeps out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from slipway.platforms.local import LocalPlatform
from slipway.records.ledger import LEDGER_VOLUME
from tests.support.browser import Watched, chromium, keep_screenshot, overflow_px, serious_problems
from tests.support.world import World

pytestmark = pytest.mark.slow

MOST_BYTES = 2_000_000
WIDTHS_PX = (1280, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(_released_world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of the release that serves, and of a run that ended in its plan."""
    world, folder = _released_world, tmp_path_factory.mktemp("reports")
    failed = world.redeploy(world.profile(model__revision="0" * 40))
    assert failed["outcome"] == "rejected"
    serving = world.live_release()
    assert serving is not None
    files = {"promoted": folder / "promoted.html", "rejected": folder / "rejected.html"}
    for release_id, file in zip((serving, failed["release_id"]), files.values(), strict=True):
        done = world.run("report", release_id, "--out", file)
        assert done.returncode == 0, done.stderr
    return files


@pytest.mark.parametrize("name", ["promoted", "rejected"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_from_disk_whole_at_any_width_and_for_anyone(
    browser: Browser, reports: dict[str, Path], tmp_path: Path, name: str, scheme: Literal["light", "dark"]
) -> None:
    file = reports[name]
    assert file.stat().st_size < MOST_BYTES
    context = browser.new_context(color_scheme=scheme, offline=True)
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(file.as_uri())
    assert page.locator("header .badge").inner_text() == name
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for width in WIDTHS_PX:
        page.set_viewport_size({"width": width, "height": 900})
        keep_screenshot(page, tmp_path, f"report-{name}-{scheme}-{width}")
        assert overflow_px(page) <= 0
        assert serious_problems(page) == []
    assert watched.requests == [file.as_uri()]
    assert watched.complaints == []
    context.close()


def test_prints_with_everything_open(browser: Browser, reports: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(reports["promoted"].as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.pdf().startswith(b"%PDF")
    page.close()


def test_every_gate_is_shown_with_its_picture(browser: Browser, reports: dict[str, Path], released: World) -> None:
    serving = released.live_release()
    record = next(each for each in released.records() if each["release_id"] == serving)
    page = browser.new_page()
    page.goto(reports["promoted"].as_uri())
    assert page.locator(".gates h3").all_inner_texts() == [verdict["gate"] for verdict in record["verdicts"]]
    measured = [v for v in record["verdicts"] if v["estimate"] is not None and "." in v["gate"]]
    assert page.locator(".gates svg").count() == len(measured) > 5
    page.close()


def test_the_run_has_stored_it_beside_its_record(released: World) -> None:
    volume = LocalPlatform(released.local).volume(LEDGER_VOLUME)
    kept = {entry.path for entry in volume.entries("reports")}
    assert {f"reports/{record['release_id']}.html" for record in released.records()} <= kept
