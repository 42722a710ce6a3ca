"""Verification in parts, resumed, and in the tiers below the full one."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.errors import Corrupt, Transient
from slipway.weights import passes, resume, tiers, verify
from slipway.weights import verify as verify_module
from slipway.weights.manifest import Manifest, ManifestFile
from slipway.weights.passes import FileVerdict
from slipway.weights.ready import is_ready, ready_digest
from tests.support.weights_place import WeightsPlace, flip, weights_place
from tests.support.weights_repo import INDEX, REPO, SHARDS
from tests.support.weights_volume import JobDouble

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = SHARDS


@pytest.fixture
def place(tmp_path: Path) -> Iterator[WeightsPlace]:
    with weights_place(tmp_path) as place:
        place.sync()
        yield place


def in_parts(place: WeightsPlace, count: int) -> list[dict[str, object]]:
    manifest = place.manifest.model_dump()
    shares = verify.parts(place.manifest, count)
    return [
        v for paths in shares for v in verify.verify_part(place.job().context, manifest=manifest, paths=paths, part=0)
    ]


def test_parts_hold_every_file_once_and_are_about_equal() -> None:
    files = tuple(ManifestFile(path=f"f{n}", size_bytes=(n % 7 + 1) * 10, sha256="a" * 64) for n in range(40))
    manifest = Manifest(repo=REPO, commit="b" * 40, files=files)
    sizes = {file.path: file.size_bytes for file in files}
    shares = verify.parts(manifest, 4)
    assert sorted(path for paths in shares for path in paths) == sorted(sizes)
    totals = [sum(sizes[path] for path in paths) for paths in shares]
    assert max(totals) - min(totals) <= 70
    assert len(verify.parts(manifest, 100)) == 40


@pytest.mark.parametrize("count", [1, 2, 5])
def test_parts_together_are_a_verification(place: WeightsPlace, count: int) -> None:
    verdicts = in_parts(place, count)
    assert not is_ready(place.volume, place.manifest)
    job = place.job()
    assert verify.conclude(job.context, manifest=place.manifest.model_dump(), verdicts=verdicts) == len(
        place.manifest.files
    )
    assert is_ready(place.volume, place.manifest)


def test_a_part_that_is_missing_is_no_verification(place: WeightsPlace) -> None:
    with pytest.raises(Corrupt, match=r"1 files .* were not read back"):
        verify.conclude(place.job().context, manifest=place.manifest.model_dump(), verdicts=in_parts(place, 1)[1:])
    assert not is_ready(place.volume, place.manifest)


def test_a_header_that_changed_after_it_was_hashed_is_found(place: WeightsPlace) -> None:
    verdicts = in_parts(place, 2)
    with place.damage() as model_dir:
        data = (model_dir / FIRST).read_bytes()
        (model_dir / FIRST).write_bytes(data.replace(b'"pt"', b'"np"'))
    with pytest.raises(Corrupt, match="changed while it was verified"):
        verify.conclude(place.job().context, manifest=place.manifest.model_dump(), verdicts=verdicts)
    assert not is_ready(place.volume, place.manifest)


def test_an_interrupted_run_is_resumed_and_a_finished_one_is_not(
    place: WeightsPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(verify_module, "THREADS", 1)
    saved, calls, check_file = threading.Event(), itertools.count(), verify_module.check_file

    def die_after_saving(*arguments: Any, **options: Any) -> FileVerdict:
        if next(calls) == 2:
            assert saved.wait(10)
            raise KeyboardInterrupt
        return check_file(*arguments, **options)

    killed = place.job()
    killed.mount.on_commit = saved.set
    monkeypatch.setattr(verify_module, "check_file", die_after_saving)
    with pytest.raises(KeyboardInterrupt):
        verify.verify(killed.context, manifest=place.manifest.model_dump())
    monkeypatch.setattr(verify_module, "check_file", check_file)
    assert resume.state_file(place.model_dir, 0).exists()
    left = place.verify()
    assert 0 < left.bytes_hashed < place.manifest.total_bytes
    assert is_ready(place.volume, place.manifest)
    assert not resume.state_file(place.model_dir, 0).exists()
    assert place.verify().bytes_hashed == place.manifest.total_bytes, "a finished run is never believed"


def test_what_changed_since_an_interruption_is_read_again(place: WeightsPlace) -> None:
    mount = place.volume.mount()
    model_dir = mount.path / place.model_dir.relative_to(place.volume.committed)
    file = place.file(SECOND)
    verdict = passes.check_file(model_dir, file, seed="", saw=lambda _count: None)
    keeper = resume.StateKeeper(mount, model_dir, place.manifest, part=0)
    keeper._not_before_s = 0.0
    keeper.save_now_and_then({SECOND: verdict})
    assert resume.hashed_before(model_dir, place.manifest) == {SECOND: verdict}
    other = place.manifest.model_copy(update={"commit": "0" * 40})
    assert resume.hashed_before(model_dir, other) == {}
    (model_dir / SECOND).chmod(0o644)
    flip(model_dir / SECOND, -1)
    assert resume.hashed_before(model_dir, place.manifest) == {}


@pytest.mark.parametrize("state", [b"", b"{}", b"\xff", b'{"manifest_digest": "x", "verdicts": [{}]}'])
def test_a_broken_state_is_no_state(place: WeightsPlace, state: bytes) -> None:
    with place.damage() as model_dir:
        resume.state_file(model_dir, 0).write_bytes(state)
    assert place.verify().bytes_hashed == place.manifest.total_bytes


def quick(place: WeightsPlace, job: JobDouble | None = None) -> tiers.TierResult:
    return tiers.TierResult.model_validate(
        tiers.quick((job or place.job()).context, manifest=place.manifest.model_dump())
    )


def sampled(place: WeightsPlace, *, seed: int = 1) -> tiers.TierResult:
    arguments = {"manifest": place.manifest.model_dump(), "endpoint": place.url, "token_env": None, "seed": seed}
    return tiers.TierResult.model_validate(tiers.sampled(place.job().context, **arguments))


def test_quick_sees_sizes_and_structure_and_never_writes_ready(place: WeightsPlace) -> None:
    assert quick(place).files == len(place.manifest.files)
    assert not is_ready(place.volume, place.manifest)
    place.verify()
    with place.damage() as model_dir:
        index = json.loads((model_dir / INDEX).read_text())
        index["weight_map"]["norm.weight"] = FIRST
        (model_dir / INDEX).write_text(json.dumps(index))
    with pytest.raises(Corrupt, match=r"norm\.weight") as error:
        quick(place)
    assert "slipway weights verify" in error.value.remedy
    assert not is_ready(place.volume, place.manifest), "the marker is withdrawn"


def test_quick_puts_what_has_another_size_into_quarantine(place: WeightsPlace) -> None:
    place.verify()
    with place.damage() as model_dir:
        (model_dir / SECOND).write_bytes(b"short")
    with pytest.raises(Corrupt, match="got 5 bytes"):
        quick(place)
    assert place.quarantined() == [SECOND]
    assert ready_digest(place.model_dir) is None, "the marker is withdrawn"


@pytest.mark.parametrize("shards", [0, 1, 3], ids=["by ranges", "both", "by digest"])
def test_sampled_finds_a_flipped_byte_by_digest_or_by_range(
    place: WeightsPlace, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    monkeypatch.setattr(tiers, "SHARDS", shards)
    monkeypatch.setattr(tiers, "RANGES", 20)
    result = sampled(place)
    assert len([path for path in result.hashed if path in SHARDS]) == shards
    assert result.bytes_read > 0
    with place.damage() as model_dir:
        flip(model_dir / SECOND, -1)
    with pytest.raises(Corrupt, match=SECOND):
        sampled(place)
    assert place.quarantined() == [SECOND]


def test_sampled_believes_the_digest_when_the_hub_sends_something_else(
    place: WeightsPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "SHARDS", 0)
    monkeypatch.setattr(tiers, "RANGES", 20)
    for name in SHARDS:
        flip(place.source / name, -1)
    with pytest.raises(Transient, match="the volume holds those it published"):
        sampled(place)
    assert place.quarantined() == []
