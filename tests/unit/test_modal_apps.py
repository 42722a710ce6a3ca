"""Stopping an app insists where that may help: what is left running costs its GPUs."""

from __future__ import annotations

import modal
import pytest

from slipway.errors import Misconfigured, Transient
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
    monkeypatch.setattr(apps, "STOP_PAUSES_S", (0.0, 0.0))


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
