"""Volumes: what is committed is seen by everybody, what is not by nobody else."""

from __future__ import annotations

from functools import partial

import pytest

from slipway.errors import Misconfigured
from slipway.platforms.port import Progress, VolumeEntry
from tests.contract.conftest import LONG_S, Place, make_job


def test_a_written_file_is_read_back_also_by_another_object(place: Place) -> None:
    place.platform.volume("data").write("a/b.txt", b"one")
    place.platform.volume("data").write("a/b.txt", b"two")
    assert place.open().volume("data").read("a/b.txt") == b"two"


def test_entries_are_sorted_and_below_their_prefix(place: Place) -> None:
    volume = place.platform.volume("data")
    for path in ("z", "a/2", "a/1", "ab"):
        volume.write(path, path.encode())
    assert [entry.path for entry in volume.entries()] == ["a/1", "a/2", "ab", "z"]
    assert list(volume.entries("a")) == [VolumeEntry("a/1", 3), VolumeEntry("a/2", 3)]
    assert list(volume.entries("nothing")) == []


def test_files_and_directories_are_removed(place: Place) -> None:
    volume = place.platform.volume("data")
    for path in ("keep", "file", "dir/1", "dir/sub/2", "dir2"):
        volume.write(path, b"x")
    volume.remove("file")
    volume.remove("dir")
    assert [entry.path for entry in place.open().volume("data").entries()] == ["dir2", "keep"]


@pytest.mark.parametrize("method", ["read", "remove"])
def test_what_is_not_there_is_said_so(place: Place, method: str) -> None:
    with pytest.raises(FileNotFoundError):
        getattr(place.platform.volume("data"), method)("missing/file")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a\\..\\x"])
def test_no_path_leaves_the_volume(place: Place, path: str) -> None:
    volume = place.platform.volume("data")
    for call in (volume.read, volume.remove, partial(volume.write, data=b""), volume.entries):
        with pytest.raises(Misconfigured):
            call(path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a"])
def test_no_name_leaves_the_platform(place: Place, name: str) -> None:
    with pytest.raises(Misconfigured):
        place.platform.volume(name)


def test_room_left_is_positive_or_unknown(place: Place) -> None:
    free_bytes = place.platform.volume("data").free_bytes()
    assert free_bytes is None or free_bytes > 0


def test_what_a_job_does_not_commit_is_seen_nowhere(place: Place) -> None:
    if place.platform.kind == "modal":
        pytest.skip("Modal commits what is written in the background, and when a container ends")
    place.platform.volume("data").write("kept", b"kept")
    place.job("write_file", writing=True, path="${data}/lost", text="lost", commit=False)
    assert [entry.path for entry in place.platform.volume("data").entries()] == ["kept"]


def test_what_a_job_commits_is_seen_outside_and_by_the_next_job(place: Place) -> None:
    place.job("write_file", writing=True, path="${data}/sub/file", text="kept", commit=True)
    assert place.platform.volume("data").read("sub/file") == b"kept"
    assert place.job("read_file", path="${data}/sub/file") == "kept"


@pytest.mark.parametrize("sealed", [False, True])
def test_changes_and_removals_are_committed(place: Place, sealed: bool) -> None:
    volume = place.platform.volume("data")
    place.job("write_file", writing=True, path="${data}/removed", text="x", commit=True, sealed=sealed)
    volume.write("changed", b"text")
    volume.write("untouched", b"y")
    place.job("append_and_remove", writing=True, append="${data}/changed", remove="${data}/removed")
    assert [(entry.path, volume.read(entry.path)) for entry in volume.entries()] == [
        ("changed", b"text more"),
        ("untouched", b"y"),
    ]


@pytest.mark.parametrize("writing", [False, True])
def test_a_mount_is_a_snapshot_until_reload(place: Place, writing: bool) -> None:
    volume = place.platform.volume("data")
    volume.write("file", b"old")

    def commit_meanwhile(progress: Progress) -> None:
        volume.write("file", b"new")
        (place.scratch / progress.note).touch()

    job = place.platform.start_job(make_job(place, "read_reload_read", writing=writing, path="${data}/file"))
    assert job.wait(timeout_s=LONG_S, progress=commit_meanwhile) == ["old", "old", "new"]


def test_of_two_writers_the_last_commit_wins_and_other_files_stay(place: Place) -> None:
    place.platform.volume("data").write("other", b"as both writers saw it")

    def commit_meanwhile(progress: Progress) -> None:
        place.job("write_file", writing=True, path="${data}/file", text="first", commit=True)
        place.job("write_file", writing=True, path="${data}/other", text="stays", commit=True)
        (place.scratch / progress.note).touch()

    last = place.platform.start_job(
        make_job(place, "write_then_commit", writing=True, path="${data}/file", text="last")
    )
    last.wait(timeout_s=LONG_S, progress=commit_meanwhile)
    volume = place.platform.volume("data")
    assert (volume.read("file"), volume.read("other")) == (b"last", b"stays")


def test_reload_refuses_to_lose_uncommitted_writes(place: Place) -> None:
    with pytest.raises(Misconfigured, match="uncommitted"):
        place.job("write_then_reload", writing=True, path="${data}/file")


def test_a_read_only_mount_cannot_be_committed(place: Place) -> None:
    with pytest.raises(Misconfigured, match="read-only"):
        place.job("write_file", path=str(place.scratch / "elsewhere"), text="", commit=True)
