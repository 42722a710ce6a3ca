"""Planning: stages with costs, the model's shape from its synced config.json, the difference to the live release."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from slipway.miniature import hub
from slipway.platforms.port import Deployment, Platform
from slipway.preflight.difference import Change, changes
from slipway.preflight.model_shape import known_shape
from slipway.preflight.plan import Plan
from slipway.profile import Profile, load_profile
from slipway.records.ledger import Ledger
from slipway.records.record import ReleaseRecord
from slipway.stages.names import ON_GPU, Stage
from slipway.stages.planning import make_plan, shape_in, weights_volume
from slipway.units import utc_now
from slipway.weights.hub import fetch_manifest
from slipway.weights.layout import model_path
from slipway.weights.manifest import Manifest, ManifestFile
from tests.support.stage_platform import MemoryPlatform

GLM51 = load_profile("glm51")
SHAPE = known_shape(GLM51.model.repo)
MANIFEST = Manifest(
    repo="my/own-fp8",
    commit="c" * 40,
    files=(ManifestFile(path="config.json", size_bytes=2, git_blob_id="0" * 40),),
)


@pytest.fixture
def platform() -> MemoryPlatform:
    return MemoryPlatform()


def planned(platform: MemoryPlatform, profile: Profile = GLM51) -> Plan:
    return make_plan(profile, cast("Platform", platform), MANIFEST, "http://never.asked.test")[0]


def serve(platform: MemoryPlatform, profile: Profile, **changed: Any) -> None:
    """A live release of the profile, with its record."""
    document = profile.model_dump(mode="json")
    record = ReleaseRecord(
        release_id="glm51.1", app="glm51", started_at=utc_now(), profile=document | changed, commit="c" * 40
    )
    Ledger(cast("Platform", platform)).save(record)
    platform.promote(Deployment("glm51", "server-1", "glm51.1", "http://1"))


def sync(platform: MemoryPlatform, config: bytes) -> None:
    platform.volume(weights_volume(GLM51)).write(f"{model_path(MANIFEST)}/config.json", config)


def own() -> Profile:
    """A profile of weights whose shape does not come with Slipway."""
    return GLM51.model_copy(update={"model": GLM51.model.model_copy(update={"repo": "my/own-fp8"})})


def test_shape_is_read_from_the_synced_weights(platform: MemoryPlatform) -> None:
    assert SHAPE is not None
    sync(platform, orjson.dumps(SHAPE.model_dump() | {"num_hidden_layers": 70}))
    found = planned(platform, own()).capacity
    assert found is not None
    assert found.token_bytes == 71 * 1284


@pytest.mark.parametrize(("config", "known"), [({"num_hidden_layers": 70}, True), ({"hidden_size": "wide"}, False)])
def test_shape_is_read_from_the_hub_before_weights_are_there(
    platform: MemoryPlatform, tmp_path: Path, config: dict[str, Any], known: bool
) -> None:
    assert SHAPE is not None
    (tmp_path / "config.json").write_bytes(orjson.dumps(SHAPE.model_dump() | config))
    with hub.serve(tmp_path, repo="my/own-fp8") as address:
        manifest = fetch_manifest("my/own-fp8", address.commit, endpoint=address.url)
        found = make_plan(own(), cast("Platform", platform), manifest, address.url)[0].capacity
    assert (found.token_bytes if found else None) == (71 * 1284 if known else None)


def test_rules_judge_by_the_shape_of_the_synced_weights(platform: MemoryPlatform) -> None:
    assert SHAPE is not None
    sync(platform, orjson.dumps(SHAPE.model_dump() | {"max_position_embeddings": 131_072}))
    assert "context-beyond-model" in {finding.rule for finding in planned(platform, own()).findings}


@pytest.mark.parametrize("config", [b"{}", b"{", b"[]", b"\xff", b'{"model_type": "llama", "hidden_size": 1}'])
def test_config_of_no_use_is_no_shape(platform: MemoryPlatform, config: bytes) -> None:
    sync(platform, config)
    assert shape_in(platform.volume(weights_volume(GLM51)), MANIFEST) is None


def test_costs_are_of_the_stages_that_hold_gpus_and_run(platform: MemoryPlatform) -> None:
    plan = planned(platform)
    for step in plan.steps:
        assert (step.cost_usd > 0) is (step.stage in ON_GPU), step.stage
        assert step.cost_least_usd <= step.cost_usd
        assert step.cost_usd == pytest.approx(step.most_s / 3600 * 50)
    assert plan.cost_usd < GLM51.budget.max_cost_usd, "the shipped profile can be released with nothing in place"
    assert plan.step(Stage.GATES).most_s > plan.step(Stage.GATES).least_s > 0


def test_the_miniature_costs_nothing(platform: MemoryPlatform) -> None:
    assert planned(platform, load_profile("miniature")).cost_usd == 0


def test_nothing_differs_before_the_first_release_or_without_a_record(platform: MemoryPlatform) -> None:
    assert planned(platform).changes == ()
    platform.promote(Deployment("glm51", "server-1", "glm51.unknown", "http://1"))
    assert planned(platform).changes == ()


def test_difference_to_the_live_release_is_named(platform: MemoryPlatform) -> None:
    serve(platform, GLM51)
    assert planned(platform).changes == ()
    engine = GLM51.engine.model_copy(update={"version": "0.5.11", "max_total_tokens": 202752})
    assert planned(platform, GLM51.model_copy(update={"engine": engine})).changes == (
        Change(field="engine.version", live="0.5.10", planned="0.5.11"),
        Change(field="engine.max_total_tokens", live="-", planned="202752"),
    )


def test_fields_that_a_record_is_too_old_for_are_no_changes(platform: MemoryPlatform) -> None:
    document = GLM51.model_dump(mode="json")
    serve(platform, GLM51, engine={k: v for k, v in document["engine"].items() if k != "trust_remote_code"})
    assert planned(platform).changes == ()


def test_record_that_breaks_the_rules_of_today_is_compared_as_it_is(platform: MemoryPlatform) -> None:
    serve(platform, GLM51, measure_live="sometimes")
    assert Change(field="measure_live", live="sometimes", planned="false") in planned(platform).changes


def test_what_is_no_longer_there_is_a_change() -> None:
    assert changes({"engine": {"env": {"A": "1"}}}, {"engine": {"env": {}}}) == (
        Change(field="engine.env.A", live="1", planned="-"),
    )


def test_gates_are_compared_one_by_one() -> None:
    before = {"gates": [{"metric": "ttft_s", "statistic": "p50", "workload": "chat", "at_most": 0.6, "worse_by": None}]}
    after = {"gates": [{"metric": "ttft_s", "statistic": "p50", "workload": "chat", "at_most": 0.5, "worse_by": None}]}
    (change,) = changes(before, after)
    assert change.field == "gates[ttft_s p50 chat]"
    assert '"at_most":0.6' in change.live
    assert '"at_most":0.5' in change.planned
