"""Repair: just what is wrong comes again, over plain HTTP, and what is wrong twice ends with the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.errors import Corrupt
from slipway.weights import layout
from slipway.weights import repair as repair_module
from slipway.weights.ready import is_ready, missing
from slipway.weights.repair import RepairResult, first_difference, repair
from tests.support.weights_place import WeightsPlace, flip, weights_place
from tests.support.weights_repo import SHARDS

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = SHARDS


@pytest.fixture
def place(tmp_path: Path) -> Iterator[WeightsPlace]:
    with weights_place(tmp_path) as place:
        place.sync()
        yield place


def repaired(place: WeightsPlace) -> RepairResult:
    arguments = {"manifest": place.manifest.model_dump(), "endpoint": place.url, "token_env": None}
    return RepairResult.model_validate(repair(place.job().context, **arguments))


def test_only_what_is_wrong_comes_again(place: WeightsPlace) -> None:
    with place.damage() as model_dir:
        flip(model_dir / SECOND, -1)
        (model_dir / THIRD).unlink()
    with pytest.raises(Corrupt):
        place.verify()
    place.hub.requests.clear()
    result = repaired(place)
    assert sorted(place.hub.fetched()) == [SECOND, THIRD] == list(result.repaired)
    assert result.bytes_fetched == place.file(SECOND).size_bytes + place.file(THIRD).size_bytes
    assert not is_ready(place.volume, place.manifest), "that is for a verification to say"
    place.verify()
    assert is_ready(place.volume, place.manifest)
    assert place.quarantined() == [SECOND]


def test_nothing_wrong_is_nothing_to_do(place: WeightsPlace) -> None:
    place.hub.requests.clear()
    assert repaired(place).repaired == ()
    assert place.hub.requests == []


@pytest.mark.parametrize(
    ("second_byte", "says"),
    [(-1, "byte for byte what came the first time"), (-2000, "first differ in the 64 MiB from byte 0")],
    ids=["same damage", "other damage"],
)
def test_what_is_wrong_twice_ends_with_the_evidence(place: WeightsPlace, second_byte: int, says: str) -> None:
    with place.damage() as model_dir:
        flip(model_dir / SECOND, -1)
    with pytest.raises(Corrupt):
        place.verify()
    flip(place.source / SECOND, second_byte)  # the Hub read its digests before
    with pytest.raises(Corrupt) as error:
        repaired(place)
    assert says in error.value.message
    assert f"expected sha256 {place.file(SECOND).sha256}" in error.value.message
    assert "another network" in error.value.remedy
    assert place.quarantined() == [SECOND, SECOND], "both copies are kept"
    assert [file.path for file in missing(place.volume, place.manifest)] == [SECOND]
    assert not is_ready(place.volume, place.manifest)


def test_the_block_that_differs_first_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair_module, "BLOCK_BYTES", 10)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(bytes(95))
    for position in (0, 9, 10, 57, 94):
        other.write_bytes(bytes(95))
        flip(other, position)
        assert first_difference(one, other) == position // 10 * 10
    other.write_bytes(bytes(100))
    assert first_difference(one, other) == 90
    other.write_bytes(bytes(95))
    assert first_difference(one, other) is None


def test_a_file_is_not_gone_on_from_what_was_quarantined(place: WeightsPlace) -> None:
    with place.damage() as model_dir:
        flip(model_dir / SECOND, -1)
    with pytest.raises(Corrupt):
        place.verify()
    place.hub.ranges.clear()
    repaired(place)
    assert place.hub.ranges == []
    assert not (place.model_dir / layout.RESERVED / "incoming").exists()
