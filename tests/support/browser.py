"""A real browser: Debian's Chromium, driven by Playwright, with what tests look at again and again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

SCREENSHOTS = "SLIPWAY_SCREENSHOTS"
"""Environment variable that names a folder in which screenshots outlive the tests."""

_OPTIONS = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for the block; the test is skipped where there is none."""
    if (program := shutil.which("chromium")) is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_OPTIONS, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and what it asked for and complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))


def overflow_px(page: Page) -> int:
    """By how much the page is wider than its window."""
    width = "document.documentElement"
    return int(page.evaluate(f"{width}.scrollWidth - {width}.clientWidth"))


def serious_problems(page: Page) -> list[str]:
    """What axe-core finds serious or worse: the rule, and the first place."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0]['failureSummary']}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]


def keep_screenshot(page: Page, folder: Path, name: str) -> Path:
    """A picture of the whole page in the test's folder, and in the one that the environment names."""
    file = folder / f"{name}.png"
    page.screenshot(path=file, full_page=True)
    if kept := os.environ.get(SCREENSHOTS):
        Path(kept).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, kept)
    return file
