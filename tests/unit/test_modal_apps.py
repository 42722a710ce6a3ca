"""Stopping an app insists where that may help: what is left running costs its GPUs."""

from __future__ import annotations

import modal
import pytest

from slipway.errors import Crashed, Misconfigured, Transient
from slipway.platforms.modal import apps


class Refusing:
    """An app that can be stopped after so many refusals."""

    def __init__(self, refusals: int, error: modal.exception.Error) -> None:
        self.refusals, self.error = refusals, error
        self.asked = 0

    def stop(self) -> None:
        self.asked += 1
        if self.asked <= self.refusals:
            raise self.error


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "PAUSES_S", (0.0, 0.0))


def test_it_is_tried_again_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    for refusals, stopped in ((2, True), (3, False)):
        app = Refusing(refusals, modal.exception.ResourceExhaustedError("slow down"))
        monkeypatch.setattr(apps, "_find", lambda _, app=app: app)
        if stopped:
            apps.stop("a")
        else:
            with pytest.raises(Transient, match="slow down"):
                apps.stop("a")
        assert app.asked == 3


def test_what_no_repetition_mends_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Refusing(9, modal.exception.PermissionDeniedError("not yours"))
    monkeypatch.setattr(apps, "_find", lambda _: app)
    with pytest.raises(Misconfigured, match="not yours"):
        apps.stop("a")
    assert app.asked == 1


def test_what_modal_calls_gone_and_still_shows_is_not_taken_for_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Refusing(9, modal.exception.NotFoundError("no such app"))
    shown: list[apps.Deployed | None] = [apps.Deployed("ap-1", 1)]
    monkeypatch.setattr(apps, "_find", lambda _: app)
    monkeypatch.setattr(apps, "look", lambda _: shown[0])
    with pytest.raises(Transient, match="nor says that it is gone"):
        apps.stop("a")
    assert app.asked == 3
    shown[0] = None
    apps.stop("a")


def test_an_app_that_was_deployed_and_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(apps, "look", looks.append)
    with pytest.raises(Crashed, match="was deployed and is gone"):
        apps.shown("a")
    assert looks == ["a", "a"]
