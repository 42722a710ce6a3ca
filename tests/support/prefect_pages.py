"""Prefect's own pages as a person uses them: the run form, a run, the form of an approval, artifacts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.sync_api import Locator, Page

PATIENCE_S = 240.0
_SLOW_MS = 60_000


@dataclass
class PrefectPages:
    """The pages of a server, and its API for what a person would wait for by looking.

    Attributes:
        url: The server's address.
        page: A tab of the browser.
    """

    url: str
    page: Page

    def __post_init__(self) -> None:
        self.page.set_default_timeout(_SLOW_MS)

    def ask(self, path: str, **query: Any) -> Any:
        """What the API answers."""
        return httpx.post(f"{self.url}/api{path}", json=query, timeout=60, trust_env=False).raise_for_status().json()

    def open_form(self, deployment: str, entrypoint: str) -> None:
        """The run form of a deployment."""
        found = next(
            each
            for each in self.ask("/deployments/filter")
            if (each["name"], each["entrypoint"]) == (deployment, entrypoint)
        )
        self.page.goto(f"{self.url}/deployments/deployment/{found['id']}/run")
        self.field("profile_file").wait_for()

    def field(self, label: str) -> Locator:
        """A property of the run form, with its label, help and control."""
        label_text = self.page.get_by_text(f"{label} (Optional)", exact=True)
        return self.page.locator(".schema-form-property").filter(has=label_text).last

    def write(self, label: str, text: str) -> None:
        """Fill a text field of the run form."""
        self.field(label).locator("textarea").fill(text)

    def choose(self, control: Locator, option: str) -> None:
        """Open a choice and take one."""
        control.focus()
        self.page.keyboard.press("Space")
        entry = self.page.locator(".p-select-option").filter(has=self.page.get_by_text(option, exact=True))
        entry.wait_for()
        entry.dispatch_event("click")  # the list follows its control while the page settles

    def submit(self) -> None:
        """Send the run form."""
        self.page.locator("button[type=submit]").click()

    def complaint(self) -> str:
        """What the page says went wrong, as soon as it does."""
        toast = self.page.locator(".p-toast-container").filter(has_text="Error").first
        toast.wait_for()
        return toast.inner_text()

    def newest_run(self) -> str:
        """Id of the run that was started last."""
        runs = self.ask("/flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1)
        return str(runs[0]["id"]) if runs else ""

    def state_of(self, run_id: str) -> str:
        """Name of a run's state."""
        (run,) = self.ask("/flow_runs/filter", flow_runs={"id": {"any_": [run_id]}})
        return str(run["state_name"])

    def tasks_of(self, run_id: str) -> dict[str, str]:
        """States of a run's stages, by name."""
        found = self.ask("/task_runs/filter", flow_runs={"id": {"any_": [run_id]}})
        return {task["name"].rsplit("-", 1)[0]: task["state_name"] for task in found}

    def artifacts_of(self, run_id: str) -> dict[str, str]:
        """Ids of a run's artifacts by key."""
        found = self.ask("/artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}}, limit=100)
        return {artifact["key"]: artifact["id"] for artifact in found}

    def open_run(self, run_id: str) -> None:
        """The page of a run."""
        self.page.goto(f"{self.url}/runs/flow-run/{run_id}")

    def look_away(self) -> None:
        """Show nothing: the page of a run that goes on is drawn anew all the time, which takes a core without a GPU."""
        self.page.goto("about:blank")

    def press(self, button: Locator, done: Callable[[], bool], what: str) -> None:
        """Press a button until it has worked: a server whose database is locked says so, and a person presses again."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE_S:g} s"
            if button.is_visible():
                button.click()
            self.page.wait_for_timeout(1000)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Go on as soon as something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE_S:g} s"
            self.page.wait_for_timeout(300)
