"""The verify job: every byte is read back, and READY is only ever written over what is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.errors import Corrupt
from slipway.weights import layout
from slipway.weights.ready import is_ready, missing, ready_digest
from tests.support.weights_place import WeightsPlace, flip, weights_place
from tests.support.weights_repo import INDEX, SHARDS, index_of, shard_bytes, with_header, write_repo
from tests.support.weights_volume import VolumeDouble

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = SHARDS
CHECKPOINT = Path(__file__).parents[2] / "slipway" / "miniature" / "checkpoint"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[WeightsPlace]:
    with weights_place(tmp_path) as place:
        place.sync()
        yield place


def test_right_files_are_marked_ready_as_the_last_thing(place: WeightsPlace) -> None:
    assert not is_ready(place.volume, place.manifest)
    job = place.job()
    result = place.verify(job)
    assert result.files == len(place.manifest.files)
    assert result.bytes_hashed == place.manifest.total_bytes
    assert result.bytes_per_s > 0
    assert job.mount.commits == 1
    assert is_ready(place.volume, place.manifest)
    assert ready_digest(place.model_dir) == place.manifest.digest
    last = job.reports[-1]
    assert (last.done, last.total, last.unit) == (place.manifest.total_bytes, place.manifest.total_bytes, "bytes")


def test_the_miniatures_checkpoint_passes(tmp_path: Path) -> None:
    with weights_place(tmp_path, CHECKPOINT) as place:
        place.sync()
        result = place.verify()
        assert result.bytes_hashed == sum(path.stat().st_size for path in CHECKPOINT.iterdir())
        assert is_ready(place.volume, place.manifest)


def test_a_flipped_byte_is_found_quarantined_and_fetched_again_alone(place: WeightsPlace) -> None:
    place.verify()
    with place.damage() as model_dir:
        flip(model_dir / SECOND, -7)
    assert is_ready(place.volume, place.manifest), "size and marker cannot tell"
    with pytest.raises(Corrupt) as error:
        place.verify()
    published = next(file.sha256 for file in place.manifest.files if file.path == SECOND)
    assert SECOND in error.value.message
    assert f"expected sha256 {published}" in error.value.message
    assert "damage is in the tensors" in error.value.message
    assert "Run again" in error.value.remedy
    assert not layout.ready_file(place.model_dir).exists()
    assert place.quarantined() == [SECOND]
    assert [file.path for file in missing(place.volume, place.manifest)] == [SECOND]
    assert place.sync().files_fetched == 1
    place.verify()
    assert is_ready(place.volume, place.manifest)
    assert place.quarantined() == [SECOND], "the evidence stays, and is no surplus file"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_found(place: WeightsPlace, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(place.manifest.files))
    position = data.draw(st.integers(0, file.size_bytes - 1))
    with place.damage() as model_dir:
        flip(model_dir / file.path, position)
    with pytest.raises(Corrupt, match=file.path):
        place.verify()
    assert not is_ready(place.volume, place.manifest)
    with place.damage() as model_dir:
        (model_dir / file.path).write_bytes((place.source / file.path).read_bytes())


@pytest.mark.parametrize(
    ("damage", "says", "quarantined"),
    [
        (lambda d: (d / FIRST).unlink(), "got no file", []),
        (lambda d: (d / FIRST).write_bytes(b"short"), "got 5 bytes", [FIRST]),
        (lambda d: (d / "surplus.bin").write_bytes(b"x"), "surplus.bin: expected no such file", ["surplus.bin"]),
        (
            lambda d: (d / "assets/.cache").symlink_to("/etc"),
            "assets/.cache: expected no such file, got no regular file",
            ["assets--.cache"],
        ),
        (lambda d: (d / "config.json").write_text("{".ljust(43)), "config.json: expected git blob", ["config.json"]),
    ],
    ids=["missing", "short", "surplus", "link", "small file"],
)
def test_what_differs_is_named(
    place: WeightsPlace, damage: Callable[[Path], object], says: str, quarantined: list[str]
) -> None:
    with place.damage() as model_dir:
        damage(model_dir)
    with pytest.raises(Corrupt) as error:
        place.verify()
    assert says in error.value.message
    assert place.quarantined() == quarantined
    place.sync()
    place.verify()


def test_a_page_of_the_right_size_instead_of_a_shard_is_recognised(place: WeightsPlace) -> None:
    with place.damage() as model_dir:
        size_bytes = (model_dir / SECOND).stat().st_size
        (model_dir / SECOND).write_bytes(b"<!DOCTYPE html>".ljust(size_bytes))
    with pytest.raises(Corrupt, match="begins with b'<!DOCTYP'"):
        place.verify()


def test_nothing_there_is_no_success(place: WeightsPlace) -> None:
    empty = replace(place, volume=VolumeDouble(place.volume.new_directory()))
    with pytest.raises(Corrupt, match="no file"):
        empty.verify()


def test_many_faults_are_counted(place: WeightsPlace) -> None:
    with place.damage() as model_dir:
        for file in place.manifest.files:
            (model_dir / file.path).unlink()
    with pytest.raises(Corrupt, match=f"and {len(place.manifest.files) - 5} more"):
        place.verify()


def lying_header() -> bytes:
    data = shard_bytes(SHARDS[THIRD])
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["norm.weight"]["shape"] = [33]
    return with_header(header, data[end:])


def without(tensor: str) -> bytes:
    index: dict[str, Any] = index_of(SHARDS)
    del index["weight_map"][tensor]
    return json.dumps(index).encode()


def plus(tensor: str) -> bytes:
    index: dict[str, Any] = index_of(SHARDS)
    index["weight_map"][tensor] = FIRST
    return json.dumps(index).encode()


@pytest.mark.parametrize(
    ("file", "data", "says"),
    [
        (THIRD, lying_header(), "norm.weight.*does not fill"),
        (INDEX, without("embed.weight"), f"{FIRST} holds embed.weight"),
        (INDEX, plus("ghost.weight"), f"ghost.weight is in {FIRST}"),
        (SECOND, b"<html>not found</html>", "no whole safetensors file"),
    ],
    ids=["header lies", "surplus tensor", "missing tensor", "page"],
)
def test_a_checkpoint_published_inconsistent_is_refused_without_blaming_the_volume(
    tmp_path: Path, file: str, data: bytes, says: str
) -> None:
    source = write_repo(tmp_path / "repo")
    (source / file).write_bytes(data)
    with weights_place(tmp_path, source) as place:
        place.sync()
        with pytest.raises(Corrupt, match=says) as error:
            place.verify()
        assert "as published" in error.value.remedy
        assert place.quarantined() == []
        assert missing(place.volume, place.manifest) == ()
        assert not is_ready(place.volume, place.manifest)


def test_bytes_changed_on_the_way_with_the_right_size_do_not_become_ready(tmp_path: Path) -> None:
    with weights_place(tmp_path) as place:
        flip(place.source / FIRST, -1)  # the Hub read its digests before
        place.sync()
        with pytest.raises(Corrupt, match=FIRST):
            place.verify()
        flip(place.source / FIRST, -1)
        assert place.sync().files_fetched == 1
        place.verify()
    assert is_ready(place.volume, place.manifest)
