"""What a platform tells of its containers' lives and of itself: true, or nothing."""

from __future__ import annotations

from datetime import timedelta

import psutil
import pytest

from slipway.platforms.check import Health, Needs
from slipway.platforms.port import Lifetime
from slipway.units import utc_now
from tests.contract.conftest import KEY_NAME, LONG_S, Place, make_job, wait_until

ROUNDING = timedelta(seconds=0.1)


def within(lives: list[Lifetime], began: object, ended: object) -> None:
    """Each life lies between two looks at the clock."""
    for life in lives:
        assert life.ended_at is not None
        assert began - ROUNDING <= life.began_at <= life.ended_at <= ended + ROUNDING


def test_a_job_tells_when_it_ran(place: Place) -> None:
    before = utc_now()
    job = place.platform.start_job(make_job(place, "echo"))
    assert all(life.ended_at is None for life in job.lifetimes())
    job.wait(timeout_s=LONG_S, progress=lambda _: None)
    within(list(job.lifetimes()), before, utc_now())


def test_a_job_that_was_ended_tells_its_end(place: Place) -> None:
    before = utc_now()
    job = place.platform.start_job(make_job(place, "wait_for_gate", note="never"))
    job.cancel()
    within(list(job.lifetimes()), before, utc_now())


def test_a_server_tells_when_it_ran(place: Place) -> None:
    before = utc_now()
    deployment = place.serve("r1")
    assert all(life.ended_at is None for life in place.open().lifetimes(deployment))
    place.platform.stop(deployment)
    within(list(place.open().lifetimes(deployment)), before, utc_now())


def test_a_server_that_was_killed_has_ended(place: Place) -> None:
    before = utc_now()
    deployment = place.serve("r1")
    if place.kept is None:
        pytest.skip("its process is not on this host")
    for process in psutil.process_iter():
        if str(deployment.deployment_id) in _directory_of(process):
            process.kill()
    wait_until(lambda: all(life.ended_at for life in place.platform.lifetimes(deployment)))
    within(list(place.platform.lifetimes(deployment)), before, utc_now())


def _directory_of(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def test_looking_at_a_platform_makes_nothing(place: Place) -> None:
    needs = Needs(volumes=("data", "not-there"), secrets=(KEY_NAME, "CONTRACT_NOT_SET"))
    files = sorted(place.kept.rglob("*")) if place.kept else []
    checks = {check.name: check for check in place.platform.diagnose(needs)}
    assert checks["secret CONTRACT_NOT_SET"].health is Health.FAILED
    assert checks["secret CONTRACT_NOT_SET"].remedy
    assert checks[f"secret {KEY_NAME}"].health is Health.OK
    assert (sorted(place.kept.rglob("*")) if place.kept else []) == files
