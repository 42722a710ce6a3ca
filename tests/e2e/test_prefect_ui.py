"""Prefect's real pages in a browser: the form refuses and starts a run, a person approves it, another is cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import chromium, keep_screenshot
from tests.support.prefect_house import House, prefect_house
from tests.support.prefect_pages import PrefectPages
from tests.support.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REDEPLOY = ("miniature", "flows/redeploy.py:redeploy")
ARTIFACTS = {
    "plan",
    "manifest",
    "kernel-cache",
    "cold-start",
    "gates",
    "latency",
    "approval",
    "timeline",
    "release-report",
}
GOING_ON = {"Running", "Paused"}
SIZE = {"width": 1280, "height": 1400}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with prefect_house(World(tmp_path_factory.mktemp("prefect-pages"))) as made:
        yield made


@pytest.fixture(scope="module")
def world(house: House) -> World:
    return house.world


@pytest.fixture(scope="module")
def pages(house: House) -> Iterator[PrefectPages]:
    with chromium() as browser:
        yield PrefectPages(house.url, browser.new_page(viewport=SIZE))


def test_from_the_form_through_an_approval_to_users(world: World, pages: PrefectPages, tmp_path: Path) -> None:
    page = pages.page
    pages.open_form(*REDEPLOY)
    assert "path of a .yaml file" in pages.field("profile_file").inner_text()
    pages.write("profile_file", "notes.txt")
    pages.submit()
    assert "profile_file" in pages.complaint()
    keep_screenshot(page, tmp_path, "prefect-1-refused")
    assert pages.newest_run() == "", "a wrong value must not start a run"

    run_id = start(world, pages)
    pages.look_away()
    pages.wait(lambda: pages.tasks_of(run_id).get("gates") == "Running", "the stage `gates`")
    pages.open_run(run_id)
    page.get_by_text("gates started").first.wait_for()
    keep_screenshot(page, tmp_path, "prefect-2-running")
    pages.look_away()
    pages.wait(lambda: pages.state_of(run_id) == "Paused", "the question")

    pages.open_run(run_id)
    page.get_by_role("button", name="Resume").click()
    form = page.locator(".p-modal")
    form.get_by_text("Your name").wait_for()
    assert "Waiting costs" in form.inner_text()
    assert "ttft_s.p50@chat" in form.inner_text()
    pages.choose(form.locator("button.p-select-button__control"), "approve")
    form.locator("textarea").nth(0).fill("Ada")
    form.locator("textarea").nth(1).fill("it is what we want")
    keep_screenshot(page, tmp_path, "prefect-3-approval")
    pages.press(form.get_by_role("button", name="Submit"), lambda: pages.state_of(run_id) != "Paused", "the answer")
    pages.look_away()
    pages.wait(lambda: pages.state_of(run_id) == "Promoted", "the promotion")
    pages.open_run(run_id)
    page.get_by_text("Promoted", exact=True).first.wait_for()
    keep_screenshot(page, tmp_path, "prefect-4-promoted")

    (record,) = world.records()
    assert world.live_release() == record["release_id"]
    (asked,) = record["approvals"]
    assert (asked["choice"], asked["decided_by"], asked["comment"]) == ("approve", "Ada", "it is what we want")
    look_at_artifacts(pages, run_id, tmp_path)


def test_cancelled_in_the_pages(world: World, pages: PrefectPages, tmp_path: Path) -> None:
    """That the candidate is stopped with it, and in what time, is tested without a browser."""
    run_id = start(world, pages)
    pages.look_away()
    pages.wait(lambda: pages.tasks_of(run_id).get("plan") == "Completed", "the second stage")

    pages.open_run(run_id)
    pages.page.get_by_role("button", name="Cancel").click()
    dialog = pages.page.locator(".p-modal")
    dialog.wait_for()
    keep_screenshot(pages.page, tmp_path, "prefect-5-cancel")
    pages.press(
        dialog.get_by_role("button", name="Confirm"), lambda: pages.state_of(run_id) not in GOING_ON, "the cancellation"
    )
    pages.wait(lambda: pages.state_of(run_id) == "Cancelled", "the end of the run")
    assert world.records()[0]["outcome"] == "rejected"
    keep_screenshot(pages.page, tmp_path, "prefect-6-cancelled")


def test_a_new_browser_comes_to_the_pages_that_were_looked_at(pages: PrefectPages) -> None:
    assert pages.page.context.browser
    with pages.page.context.browser.new_page() as page:
        page.goto(pages.url)
        page.wait_for_url("**/dashboard*")
        assert "/v2/" not in page.url


def start(world: World, pages: PrefectPages) -> str:
    """Start a release in the form, which is to be approved; the run's id."""
    before = pages.newest_run()
    pages.open_form(*REDEPLOY)
    pages.write("profile_file", str(world.profile()))
    pages.choose(pages.field("approval").locator("button.p-select-button__control"), "always")
    pages.submit()
    pages.wait(lambda: pages.newest_run() != before, "the run")
    return pages.newest_run()


def look_at_artifacts(pages: PrefectPages, run_id: str, folder: Path) -> None:
    """Open each in its page: none is blank, and the picture is one."""
    artifacts = pages.artifacts_of(run_id)
    assert artifacts.keys() >= ARTIFACTS
    for key in ARTIFACTS:
        pages.page.goto(f"{pages.url}/artifacts/artifact/{artifacts[key]}")
        shown = pages.page.locator("img[src^='data:image/svg']" if key == "latency" else "table")
        shown.first.wait_for()
        keep_screenshot(pages.page, folder, f"prefect-artifact-{key}")
