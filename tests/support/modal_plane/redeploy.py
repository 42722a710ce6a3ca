"""A release by the port's calls alone, in the order of the flow: `python -m …redeploy ROOT SCRATCH RELEASE`.

It does what stages do with a platform, and nothing else, so that a fault can be tried at each single call. It
prints each step as it is done; a step whose work is in the volume is not done again. Exit status 0: users reach
the release; 1: an error of `slipway.errors`, in one line of JSON; anything else is a defect.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import httpx

from slipway.errors import SlipwayError
from slipway.platforms.port import Deployment, Job, Mount, Platform, Progress, Release
from slipway.units import utc_now
from slipway.weights.layout import READY_FILE
from slipway.weights.ready import Ready
from tests.contract.conftest import APP, LONG_S, WEIGHTS, Place
from tests.support.modal_place import ContractModal

WORK: Final = "work"
"""Volume with a line for each time that the work of a release was done."""


def open_place(root: Path, scratch: Path) -> Place:
    opener = "tests.support.modal_place:ContractModal"
    return Place(lambda: ContractModal(root), (opener, str(root)), scratch, None)


def mark_weights(place: Place) -> None:
    """Weights that the supervisor takes for verified, as the contract suite has them."""
    marker = Ready(
        manifest_digest=WEIGHTS, repo="org/model", commit="c0ffee", files=1, size_bytes=1, verified_at=utc_now()
    )
    place.platform.volume("weights").write(f"model/{READY_FILE}", marker.model_dump_json().encode())


def say(step: str, **told: object) -> None:
    sys.stdout.write(json.dumps({"step": step, **told}) + "\n")
    sys.stdout.flush()


def redeploy(place: Place, release: str) -> None:
    platform = place.platform
    with platform.exclusive(APP):
        live = platform.live(APP)
        for other in platform.deployments(APP):
            if live is None or other.deployment_id != live.deployment_id:
                platform.stop(other)
        say("cleared")
        mark_weights(place)
        _work(place, release)
        say("worked")
        candidate = platform.deploy(APP, place.spec(release))
        say("deployed")
        try:
            platform.wait_ready(candidate, timeout_s=LONG_S)
            _must_answer(place, candidate)
            say("judged")
            platform.promote(candidate)
        except BaseException:
            _undo(platform, live, candidate)
            raise
        say("promoted")


def _undo(platform: Platform, before: Release | None, candidate: Deployment) -> None:
    """As a run does: a switch that came about after all is taken back before what was deployed is stopped."""
    live = platform.live(APP)
    if before and live and live.release_id == candidate.release_id:
        platform.roll_back(APP, before.version, timeout_s=LONG_S)
    platform.stop(candidate)


def _work(place: Place, release: str) -> None:
    """A job that is to be done once for each release, whatever happens."""
    done = {entry.path for entry in place.platform.volume(WORK).entries()}
    if f"{release}.done" in done:
        return
    job = Job(
        name="work",
        function="tests.support.modal_work:append_line",
        arguments={"path": f"${{data}}/{release}"},
        mounts=(Mount("data", WORK, read_only=False),),
        work=f"work of {release}",
    )
    handle = place.platform.start_job(job)
    handle.wait(timeout_s=LONG_S, progress=_ignore)
    handle.logs()
    place.platform.volume(WORK).write(f"{release}.done", b"")


def _ignore(_: Progress) -> None:
    pass


def _must_answer(place: Place, candidate: Deployment) -> None:
    """The build id is in the endpoint's answer before anything is believed of it."""
    answer = httpx.get(candidate.url, headers=place.headers(), timeout=LONG_S).json()
    assert answer["name"] == candidate.release_id, answer


def main() -> int:
    root, scratch, release = sys.argv[1:]
    try:
        redeploy(open_place(Path(root), Path(scratch)), release)
    except SlipwayError as error:
        say("failed", kind=type(error).__name__, message=error.message, remedy=error.remedy)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
