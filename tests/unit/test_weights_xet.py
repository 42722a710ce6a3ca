"""Xet where the Hub offers it, and plain HTTP where that does not work: what is asked, and the fetch's environment."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from slipway.miniature.hub import hub_app, serve_app
from slipway.weights import watchdog
from slipway.weights.hub import fetch_manifest
from slipway.weights.ready import is_ready, missing
from tests.support.hub_faults import FaultyHub
from tests.support.hub_xet import TOKEN, XetHub
from tests.support.weights_place import WeightsPlace
from tests.support.weights_repo import REPO, write_repo
from tests.support.weights_volume import VolumeDouble

pytestmark = pytest.mark.slow

STALL_S = 5.0
"""More than a process takes to start on a busy machine."""


@dataclass
class Xet:
    """A place, and the store that its Hub names."""

    place: WeightsPlace
    hub: XetHub

    def one_file(self) -> dict[str, Any]:
        """Arguments for fetching the first file only: each stall takes its time."""
        manifest = self.place.manifest
        return {"manifest": manifest.model_copy(update={"files": manifest.files[:1]}).model_dump()}


@pytest.fixture
def xet(tmp_path: Path) -> Iterator[Xet]:
    source = write_repo(tmp_path / "repo")
    app = hub_app(source, repo=REPO)
    noting = FaultyHub(app)
    hub = XetHub(noting)
    (tmp_path / "volume").mkdir()
    with serve_app(hub) as url:
        manifest = fetch_manifest(REPO, app.state.commit, endpoint=url)
        yield Xet(WeightsPlace(source, noting, url, manifest, VolumeDouble(tmp_path / "volume")), hub)


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environment of every fetch that is started."""
    seen: list[dict[str, str]] = []
    start = subprocess.Popen

    def note(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        seen.append(options["env"])
        return start(*arguments, **options)

    monkeypatch.setattr(watchdog.subprocess, "Popen", note)
    return seen


def test_a_store_that_refuses_costs_a_question_and_no_restart(xet: Xet, environments: list[dict[str, str]]) -> None:
    xet.hub.store = JSONResponse({"error": "no such file"}, status_code=404)
    assert xet.place.sync().restarts == 0
    assert xet.hub.asked, "Xet was tried, for the Hub offers it"
    assert {headers["authorization"] for _, headers in xet.hub.asked} == {f"Bearer {TOKEN}"}, "with its own token"
    assert set(xet.place.hub.fetched()) == {file.path for file in xet.place.manifest.files}
    assert ["HF_HUB_DISABLE_XET" in each for each in environments] == [False]
    assert missing(xet.place.volume, xet.place.manifest) == ()
    xet.place.verify()
    assert is_ready(xet.place.volume, xet.place.manifest)


def test_the_hubs_token_is_not_shown_to_the_store(xet: Xet, monkeypatch: pytest.MonkeyPatch) -> None:
    xet.hub.store = JSONResponse({"error": "no such file"}, status_code=404)
    monkeypatch.setenv("MY_TOKEN", "sesame")
    xet.place.sync(token_env="MY_TOKEN", **xet.one_file())
    assert xet.hub.asked
    assert not any("sesame" in value for _, headers in xet.hub.asked for value in headers.values())


def test_a_store_that_stalls_is_left_for_plain_http_at_the_third_start(
    xet: Xet, environments: list[dict[str, str]]
) -> None:
    result = xet.place.sync(stall_s=STALL_S, **xet.one_file())
    assert result.restarts == watchdog.XET_ATTEMPTS == 2
    assert xet.hub.asked
    assert [each.get("HF_HUB_DISABLE_XET") for each in environments] == [None, None, "1"]
    assert xet.place.hub.fetched() == [xet.place.manifest.files[0].path], "by plain HTTP, once"
