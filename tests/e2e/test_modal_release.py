"""Whole releases of the miniature at Modal: the real client, command line and container entrypoint, on the plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway.platforms.modal.platform import ModalPlatform
from tests.support.modal_plane import Plane, modal_plane, why_not_here
from tests.support.world import API_KEY, APP, World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here()),
]

OVERHEAD_S = 10.0
"""What a whole release may take beside its jobs and waiting for servers."""

STOPPED_WITHIN_S = 5.0
"""From a gate's failure to the end of the candidate's last process."""

BUSY = 3.0
"""How much longer things may take where tests share the machine with others."""

GATES = [
    {"metric": "config_drift", "statistic": "equal"},
    {"metric": "error_rate", "statistic": "share", "workload": "chat", "at_most": 0.5},
]
IMPOSSIBLE = {"metric": "ttft_s", "statistic": "p50", "workload": "chat", "at_most": 0.00001}


@dataclass
class Releases:
    """What three runs left: one promoted, one rejected, one promoted; then the first brought back."""

    plane: Plane
    world: World
    records: list[dict[str, Any]]
    after_rejection: str
    rolled_back: str
    platform: ModalPlatform


def who_answers(platform: ModalPlatform) -> str:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    body = {"text": "1 + 1 =", "sampling_params": {"max_new_tokens": 1}}
    answer = httpx.post(f"{platform.live_url(APP)}/generate", json=body, headers=headers, timeout=60)
    return str(answer.json()["meta_info"]["weight_version"])


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Releases]:
    root = tmp_path_factory.mktemp("modal")
    with modal_plane(root) as plane, pytest.MonkeyPatch.context() as patch:
        world = World(root)
        for name, value in (plane.env | world.env()).items():
            patch.setenv(name, value)
        settings = {"platform": "modal", "workloads__chat__requests": 12, "warmup__max_rounds": 3}
        good = world.profile(gates=GATES, scaling__max_containers=2, **settings)
        bad = world.profile(gates=[*GATES, IMPOSSIBLE], scaling__max_containers=2, **settings)
        platform = ModalPlatform(world.home / "modal")
        records = [world.redeploy(good), world.redeploy(bad)]
        after_rejection = who_answers(platform)
        records.append(world.redeploy(good))
        done = world.run("rollback", APP, "1", "--platform", "modal")
        assert done.returncode == 0, done.stderr
        yield Releases(plane, world, records, after_rejection, who_answers(platform), platform)


def seen_candidate(released: Releases, record: dict[str, Any]) -> Any:
    """The container of a run's candidate: of those that began while it ran, the only one of a candidate's app."""
    began, ended = (datetime.fromisoformat(record[name]).timestamp() for name in ("started_at", "ended_at"))
    seen = released.plane.containers(ended=True)
    (candidate,) = [c for c in seen if c.app.startswith(f"{APP}-c-") and began < c.created_at < ended]
    return candidate


def test_good_releases_are_promoted_and_one_that_fails_a_gate_is_not(released: Releases) -> None:
    outcomes = [(record["outcome"], record["returncode"]) for record in released.records]
    assert outcomes == [("promoted", 0), ("rejected", 1), ("promoted", 0)], released.world.printed
    assert released.after_rejection == released.records[0]["release_id"]


def test_modal_itself_goes_back_to_an_explicit_version(released: Releases) -> None:
    first, _, third = released.records
    assert released.rolled_back == first["release_id"]
    history = [(known.version, known.release_id, known.rolled_back_to) for known in released.platform.history(APP)]
    assert history == [(1, first["release_id"], None), (2, third["release_id"], None), (3, first["release_id"], 1)]
    assert len(released.plane.calls("AppRollback")) == 1


def test_nothing_runs_but_the_live_release(released: Releases) -> None:
    assert {container.app for container in released.plane.containers() if container.function == "serve"} == {APP}
    assert [running.release_id for running in released.platform.deployments(APP)] == [released.rolled_back]


def test_finished_work_is_not_done_again(released: Releases) -> None:
    stages = {stage["name"]: stage for stage in released.records[2]["stages"]}
    assert stages["sync weights"]["status"] == "skipped"
    assert stages["precompile kernels"]["status"] == "skipped"


def test_the_stop_watch(released: Releases) -> None:
    overheads = [record["overhead_s"] for record in released.records]
    rejected = released.records[1]
    gates = next(stage for stage in rejected["stages"] if stage["name"] == "gates")
    failed_at = datetime.fromisoformat(gates["started_at"]) + timedelta(seconds=gates["seconds"])
    stopped_s = seen_candidate(released, rejected).ended_at - failed_at.timestamp()
    print(f"\noverhead of whole releases: {overheads}; gate failed to candidate stopped: {stopped_s:.1f} s")  # noqa: T201
    assert min(overheads) < OVERHEAD_S
    assert stopped_s < BUSY * STOPPED_WITHIN_S


def test_the_key_is_nowhere_but_in_its_place(released: Releases) -> None:
    assert API_KEY not in "".join(released.world.printed)
    assert API_KEY not in released.plane.logs()
    kept = [file for file in Path(released.world.home).rglob("*") if file.is_file()]
    assert not [file for file in kept if API_KEY.encode() in file.read_bytes()]
