"""The weights stages on the local platform: jobs in processes of their own, repaired and verified in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from slipway.errors import Corrupt
from slipway.miniature.hub import serve
from slipway.platforms.local import LocalPlatform
from slipway.platforms.port import Platform, ServerSpec
from slipway.profile import load_profile
from slipway.records.ledger import Ledger
from slipway.records.record import ReleaseRecord
from slipway.stages import revisions
from slipway.stages.planning import resolve, weights_volume
from slipway.stages.revisions import Revision, needed, to_prune
from slipway.stages.surroundings import CHECKPOINT_DIR
from slipway.stages.weights import WeightsWork, fetch, hash_all, look_at_samples, look_quickly, prove
from slipway.units import utc_now
from slipway.weights.ready import is_ready
from tests.support.stage_platform import MemoryPlatform

pytestmark = pytest.mark.slow

PROFILE = load_profile("miniature")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[WeightsWork]:
    platform = LocalPlatform(tmp_path)
    with serve(CHECKPOINT_DIR, repo=PROFILE.model.repo) as hub:
        manifest = resolve(PROFILE, platform, hub.url)
        work = WeightsWork(platform, PROFILE, manifest, hub.url, 60.0, lambda _progress: None)
        fetch(work)
        yield work


def ready(work: WeightsWork) -> bool:
    return is_ready(work.platform.volume(weights_volume(PROFILE)), work.manifest)


def flip_at_rest(tmp_path: Path, name: str) -> None:
    shard = max(tmp_path.rglob(f"gen-*/models/**/{name}"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    shard.chmod(0o444)


def in_parts(work: WeightsWork) -> WeightsWork:
    spec = PROFILE.weights.model_copy(update={"verify_workers": 3})
    return replace(work, profile=PROFILE.model_copy(update={"weights": spec}))


def as_it_is(work: WeightsWork) -> WeightsWork:
    return work


@pytest.mark.parametrize("arranged", [as_it_is, in_parts], ids=["one job", "three jobs"])
def test_a_flipped_byte_is_repaired_and_all_is_proved(
    work: WeightsWork, tmp_path: Path, arranged: Callable[[WeightsWork], WeightsWork]
) -> None:
    shard = "model-00002-of-00003.safetensors"
    chosen = arranged(work)
    flip_at_rest(tmp_path, shard)
    with pytest.raises(Corrupt, match=shard):
        hash_all(chosen)
    assert not ready(work)
    flip_at_rest(tmp_path, "model-00001-of-00003.safetensors")
    done = prove(chosen)
    assert done["files"] == len(work.manifest.files)
    assert set(done["repaired"]) == {shard, "model-00001-of-00003.safetensors"}
    assert ready(work)


def test_the_lower_tiers_say_what_they_looked_at(work: WeightsWork) -> None:
    assert look_quickly(work)["files"] == len(work.manifest.files)
    assert look_at_samples(work)["bytes_read"] > 0
    assert not ready(work)


def test_revisions_are_shown_as_they_lie(work: WeightsWork) -> None:
    volume = work.platform.volume(weights_volume(PROFILE))
    (there,) = revisions.revisions(volume)
    assert (there.commit, there.manifest, there.missing) == (work.manifest.commit, work.manifest, 0)
    assert there.verified_at is None
    hash_all(work)
    (there,) = revisions.revisions(volume)
    assert there.verified_at is not None
    assert there.size_bytes > work.manifest.total_bytes
    assert revisions.prune(work.platform, PROFILE, keep=1) == []
    assert needed(work.platform, PROFILE) == {PROFILE.model.revision}


def test_a_revision_that_is_being_written_is_not_pruned(work: WeightsWork) -> None:
    other = PROFILE.model_copy(update={"model": PROFILE.model.model_copy(update={"revision": "0" * 40})})
    volume = work.platform.volume(weights_volume(PROFILE))
    volume.write(f"models/o--n/{'1' * 40}/config.json", b"{}")
    with work.writing():
        assert revisions.prune(work.platform, other, keep=1) == []
    assert [one.commit for one in revisions.prune(work.platform, other, keep=1)] == [work.manifest.commit]


def revision(commit: str) -> Revision:
    return Revision(f"models/o--n/{commit}", 1, None, 0, 0, None)


def test_what_serves_or_may_serve_again_is_never_pruned() -> None:
    there = [revision(commit) for commit in "abcde"]
    assert to_prune(there, keep=2, needed={"d"}) == [there[2], there[4]]
    assert to_prune(there, keep=9, needed=set()) == []


def released(platform: MemoryPlatform, name: str, commit: str, *, recorded: bool = True, argv: str = "") -> None:
    release_id = f"{PROFILE.app}.{name}"
    deployment = platform.deploy(PROFILE.app, ServerSpec(release_id=release_id, argv=(), env={}, mounts=()))
    release = platform.promote(deployment)
    platform.releases[-1] = replace(release, spec=replace(release.spec, argv=("--model-dir", argv)))
    if recorded:
        record = ReleaseRecord(
            release_id=release_id, app=PROFILE.app, started_at=utc_now(), profile={}, commit=commit, outcome="promoted"
        )
        Ledger(cast("Platform", platform)).save(record)


def test_what_the_ledger_says_of_the_live_release_and_the_one_before_stays() -> None:
    platform = MemoryPlatform()
    a, b, c, d = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)
    for name, commit in (("r1", a), ("r2", b), ("r3", c)):
        released(platform, name, commit)
    own = PROFILE.model.revision
    assert needed(cast("Platform", platform), PROFILE) == {own, b, c}
    platform.roll_back(PROFILE.app, 2, timeout_s=1)
    assert needed(cast("Platform", platform), PROFILE) == {own, b, c}, "back on r2, a roll back leads to r3"
    released(platform, "r4", d, recorded=False, argv=f"${{weights}}/models/o--n/{d}")
    assert needed(cast("Platform", platform), PROFILE) == {own, b, d}, "r4 has no record, but names its weights"
    there = [revision(commit) for commit in (own, a, b, c, d)]
    assert to_prune(there, keep=1, needed=needed(cast("Platform", platform), PROFILE)) == [there[1], there[3]]
