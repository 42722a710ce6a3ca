"""What only the platform at Modal does: jobs that are picked up, leases across machines, plans without rollback."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.errors import Busy, Misconfigured, Transient
from slipway.platforms.check import Health, Needs
from slipway.platforms.modal import apps, handles
from slipway.platforms.modal.lease import DEAD_AFTER_S, Lease, _sign
from slipway.platforms.modal.probe import _ask, wait_for_release
from slipway.platforms.port import Deployment, Job, Phase, Progress
from tests.contract.conftest import APP, KEY_NAME, LONG_S, Place, make_job, make_modal_place, wait_until
from tests.support.modal_plane import Plane

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path, modal_environment: str) -> Iterator[Place]:
    place = make_modal_place(tmp_path)
    yield place
    place.open().stop_app(APP)


def gated(place: Place) -> Job:
    """A job that ends when the file `go` is there."""
    return make_job(place, "write_then_commit", writing=True, work="one work", path="${data}/file", text="x")


def test_the_next_start_of_the_same_work_picks_the_running_job_up(place: Place, plane: Plane) -> None:
    before = len(jobs(plane))
    place.platform.start_job(gated(place))  # and its process is lost
    again = place.open().start_job(gated(place))

    def let_go(progress: Progress) -> None:
        (place.scratch / progress.note).touch()

    again.wait(timeout_s=LONG_S, progress=let_go)
    assert len(jobs(plane)) == before + 1
    place.open().start_job(gated(place)).wait(timeout_s=LONG_S, progress=let_go)  # what has ended is not believed
    assert len(jobs(plane)) == before + 2


def test_a_job_of_which_modal_does_not_say_whether_it_runs_is_not_started_twice(place: Place, plane: Plane) -> None:
    place.platform.start_job(gated(place))
    before = len(plane.calls("FunctionMap"))
    plane.faults.add("FunctionGetOutputs", "unavailable", count=20, by="client")
    try:
        with pytest.raises(Transient):
            place.open().start_job(gated(place))
    finally:
        plane.faults.clear()
    assert len(plane.calls("FunctionMap")) == before
    place.open().start_job(gated(place)).cancel()


def test_how_a_candidate_was_built_can_be_read_when_it_is_gone(place: Place) -> None:
    candidate = place.deploy("r1")
    place.platform.stop(candidate)
    told = place.open().deploy_log(candidate)
    assert told.startswith("deployed as ap-")
    assert "\n=> FROM " in told


def jobs(plane: Plane) -> list[str]:
    return [container.task_id for container in plane.containers("contract-jobs", ended=True)]


def test_who_was_taken_for_dead_must_not_go_on(place: Place) -> None:
    with place.platform.exclusive(APP):
        elsewhere = Lease(APP)
        with pytest.raises(Busy):
            elsewhere.take()
        silent = _sign() | {"machine": "another", "at_s": time.time() - DEAD_AFTER_S - 1}
        handles.state().put(f"lease/{APP}/1", silent)
        elsewhere.take()
        with pytest.raises(Busy, match="taken over"):
            place.platform.roll_back(APP, 1, timeout_s=LONG_S)
        elsewhere.give_back()


def test_a_holder_elsewhere_that_gave_a_sign_lately_is_not_dead(place: Place) -> None:
    handles.state().put(f"lease/{APP}/1", _sign() | {"machine": "another", "host": "far-away"})
    with pytest.raises(Busy, match="far-away"), place.platform.exclusive(APP):
        pass


def test_a_plan_without_rollback_deploys_the_recorded_release_again(place: Place, plane: Plane) -> None:
    for name in ("r1", "r2"):
        place.platform.promote(place.serve(name))
    plane.faults.without_rollback()
    with contextlib.closing(Closing(plane)):
        back = place.platform.roll_back(APP, 1, timeout_s=LONG_S)
    assert (back.version, back.release_id, back.rolled_back_to) == (3, "r1", 1)
    live = place.open().live(APP)
    assert live is not None
    assert live.release_id == "r1"


class Closing:
    """Takes the faults of a plane away."""

    def __init__(self, plane: Plane) -> None:
        self.close = plane.faults.clear


def test_an_image_that_cannot_be_built_is_told_with_its_last_lines(
    place: Place, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.platforms.modal.images.JOB_PYTHON", "3.13")
    plane.faults.fail_image_build("step 1\nE: no such package\n")
    with contextlib.closing(Closing(plane)), pytest.raises(Misconfigured, match="no such package"):
        place.deploy("r1")
    assert not place.platform.deployments(APP)


def test_a_live_release_that_was_stopped_for_another_can_be_had_back(place: Place) -> None:
    """As a release in place does when it fails."""
    live = place.platform.promote(place.serve("r1"))
    deployment = Deployment(APP, live.deployment_id, live.release_id, live.url)
    place.platform.stop(deployment)
    assert place.platform.status(deployment).phase is Phase.STOPPED
    assert place.open().live(APP) == live
    assert not place.platform.deployments(APP)
    back = place.platform.roll_back(APP, live.version, timeout_s=LONG_S)
    assert (back.version, back.release_id) == (2, "r1")
    assert place.platform.status(deployment).phase is Phase.READY


def test_a_candidate_that_crashed_is_not_started_again(place: Place, plane: Plane) -> None:
    deployment = place.deploy("r1", "--exit-at-start", "3")
    wait_until(lambda: place.platform.status(deployment).phase is Phase.CRASHED)
    wait_until(lambda: not plane.containers(deployment.deployment_id))
    assert not place.platform.deployments(APP)


def test_a_switch_that_nobody_wrote_down_is_seen_by_the_next(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place.serve("r1")

    def die(*_: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("slipway.platforms.modal.releases.wait_for_release", die)
        patch.setattr("slipway.platforms.modal.releases.LiveReleases._take_back", lambda *_: None)  # SIGKILL
        with pytest.raises(KeyboardInterrupt):
            place.platform.promote(first)
    live = place.open().live(APP)
    assert live is not None
    assert (live.version, live.release_id, live.url) == (1, "r1", place.platform.live_url(APP))
    assert live.url


def test_who_interrupts_a_switch_leaves_users_at_the_release_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modal goes back by replacing containers, too: until the old release answers, the new one does."""
    before = place.platform.promote(place.serve("r1"))
    second = place.serve("r2")

    def interrupted(url: str, release_id: str, key: str | None, *, timeout_s: float) -> None:
        wait_for_release(url, release_id, key, timeout_s=timeout_s)
        if release_id == "r2":
            raise KeyboardInterrupt

    monkeypatch.setattr("slipway.platforms.modal.releases.wait_for_release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        place.platform.promote(second)
    assert _ask(before.url, place.platform.secret(KEY_NAME), timeout_s=LONG_S) == "r1"
    assert place.open().live(APP) == before


def test_a_switch_that_modal_does_not_show_at_once_is_waited_for(
    place: Place, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.platform.promote(place.serve("r1"))
    second, shown = place.serve("r2"), apps.shown

    def unseen(name: str) -> apps.Deployed:
        plane.faults.add("AppGetOrCreate", "not_found", count=3, by="client")
        return shown(name)

    monkeypatch.setattr(apps, "PAUSES_S", (0.0,) * 4)
    monkeypatch.setattr(apps, "shown", unseen)
    release = place.platform.promote(second)
    assert place.open().live(APP) == release
    assert _ask(release.url, place.platform.secret(KEY_NAME), timeout_s=LONG_S) == "r2"


def test_the_doctor_hears_what_is_missing_and_makes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    needs = Needs(("weights", "not-there"), ("HF_TOKEN", "MADE_API_KEY"), gpus=16)
    seen = {check.name: check for check in place.platform.diagnose(needs)}
    assert {name: check.health for name, check in seen.items()} == {
        "Modal's client": Health.OK,
        "Modal's token": Health.OK,
        "secret HF_TOKEN": Health.FAILED,
        "secret MADE_API_KEY": Health.OK,
        "volumes": Health.OK,
        "GPUs": Health.WARNING,
    }
    assert seen["volumes"].seen == "1 of 2 are there; a run makes the others"
    assert "1 of 2" in {check.name: check for check in place.platform.diagnose(needs)}["volumes"].seen
