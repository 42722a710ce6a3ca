"""The orchestrator is killed or cancelled in the stages of a release at Modal: users keep theirs, the next run goes on.

By default it is killed in `SLIPWAY_FAULT_CELLS=2` stages and cancelled in one of these, chosen by
`SLIPWAY_FAULT_SEED=0`; `all` does both in every one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slipway.platforms.modal.platform import ModalPlatform
from slipway.stages.names import Stage
from tests.e2e.test_modal_release import GATES, who_answers
from tests.support.modal_plane import ContainerState, Plane, modal_plane, why_not_here
from tests.support.world import APP, World, published, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here()),
]
CELLS = os.environ.get("SLIPWAY_FAULT_CELLS", "2")
SEED = int(os.environ.get("SLIPWAY_FAULT_SEED", "0"))
WITH_JOBS = {Stage.SYNC, Stage.VERIFY, Stage.PRECOMPILE, Stage.GATES}
SOON_S = 120.0


@dataclass
class Serving:
    """An app at Modal that serves its first release."""

    plane: Plane
    world: World
    platform: ModalPlatform

    def serves(self) -> str:
        return who_answers(self.platform)

    def profile(self, **fields: str) -> Path:
        """The miniature at Modal with what is needed here."""
        return self.world.profile(
            platform="modal", gates=GATES, workloads__chat__requests=12, warmup__max_rounds=3,
            scaling__max_containers=2, **fields,
        )  # fmt: skip

    def servers(self) -> list[ContainerState]:
        return [container for container in self.plane.containers() if container.function == "serve"]

    def at_its_work(self, stage: Stage) -> bool:
        """Whether a stage is in the middle of it: its job runs, or its candidate does."""
        if stage in WITH_JOBS:
            return any(c.calls and c.function != "serve" for c in self.plane.containers())
        return stage is not Stage.DEPLOY or any(c.app != APP for c in self.servers())


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Serving]:
    root = tmp_path_factory.mktemp("modal")
    with modal_plane(root) as plane, pytest.MonkeyPatch.context() as patch:
        world = World(root)
        for name, value in (plane.env | world.env()).items():
            patch.setenv(name, value)
        serving = Serving(plane, world, ModalPlatform(world.home / "modal"))
        assert world.redeploy(serving.profile())["outcome"] == "promoted", world.printed
        yield serving


def chosen() -> list[Stage]:
    stages = list(Stage)
    return stages if CELLS == "all" else sorted(random.Random(SEED).sample(stages, int(CELLS)), key=stages.index)


def test_the_flow_is_killed_in_a_stage(serving: Serving, tmp_path: Path) -> None:
    """Each run cleans up after the one killed before it, and is killed further on."""
    before, world = serving.serves(), serving.world
    with published(tmp_path / "checkpoint", lambda d: (d / "README.md").write_text("another card")) as fields:
        profile = serving.profile(**fields)
        for stage in chosen():
            with world.started(profile) as run:
                release_id = run.wait_for_stage(stage)
                wait_until(lambda stage=stage: serving.at_its_work(stage), f"the work of {stage}", SOON_S)
                run.kill()
            allowed = {before, release_id} if stage is Stage.PROMOTE else {before}
            assert serving.serves() in allowed, stage
        last = world.redeploy(profile)

    assert (last["outcome"], last["returncode"]) == ("promoted", 0)
    assert serving.serves() == last["release_id"]
    wait_until(lambda: {c.app for c in serving.servers()} == {APP}, "the end of every candidate", SOON_S)
    stages = {stage["name"]: stage["status"] for stage in last["stages"]}
    assert all(stages[stage] == "skipped" for stage in (Stage.SYNC, Stage.PRECOMPILE) if _before_last(stage)), stages
    assert serving.plane.errors() == []


@pytest.mark.parametrize("stage", chosen() if CELLS == "all" else chosen()[-1:])
def test_the_flow_is_cancelled_in_a_stage(serving: Serving, tmp_path: Path, stage: Stage) -> None:
    """Whoever cancels gets back what was, when the command ends: there need not be a next run.

    Only a switch may be over before it hears of it; `test_who_interrupts_a_switch…` holds one up.
    """
    before, world = serving.serves(), serving.world
    with published(tmp_path / "checkpoint", lambda d: (d / "README.md").write_text(f"not at {stage}")) as fields:
        with world.started(serving.profile(**fields)) as run:
            run.wait_for_stage(stage)
            wait_until(lambda: serving.at_its_work(stage), f"the work of {stage}", SOON_S)
            record = run.cancel()
        too_late = stage is Stage.PROMOTE and record["outcome"] == "promoted"
        served = record["release_id"] if too_late else before
        assert serving.serves() == served, record
        assert [running.release_id for running in serving.platform.deployments(APP)] == [served]
    wait_until(lambda: {c.app for c in serving.servers()} == {APP}, "the end of the candidate", SOON_S)
    wait_until(lambda: not any(c.calls and c.function != "serve" for c in serving.plane.containers()), "the job's end")
    assert serving.plane.errors() == []
    assert record["returncode"] == record["exit_code"]
    if not too_late:
        assert record["exit_code"] != 0
        assert record["outcome"] in {"rejected", "rolled_back"}
        assert "interrupted, or cancelled" in record["reason"]


def _before_last(stage: Stage) -> bool:
    """Whether a killed run had this stage behind it."""
    order = list(Stage)
    return any(order.index(killed) > order.index(stage) for killed in chosen())
