"""The sync job, through the real client, against the local Hub."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from slipway.errors import Misconfigured, Transient
from slipway.miniature.hub import hub_app, serve_app
from slipway.weights import layout
from slipway.weights import sync as sync_module
from slipway.weights.hub import HubRevision, fetch_manifest, part_name
from slipway.weights.manifest import RESERVED, Manifest
from slipway.weights.ready import is_ready, mark_ready, missing
from slipway.weights.sync import SyncResult, sync
from tests.support.hub_faults import FaultyHub
from tests.support.weights_repo import REPO, SHARDS, write_repo
from tests.support.weights_volume import JobDouble, VolumeDouble

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = SHARDS
ROOT = Path(__file__).parents[2]


@dataclass
class Place:
    """A repository behind a Hub that can be made to misbehave, and a volume."""

    source: Path
    hub: FaultyHub
    url: str
    manifest: Manifest
    volume: VolumeDouble

    @property
    def model_dir(self) -> Path:
        return self.volume.committed / layout.model_path(self.manifest)

    def sync(self, **changed: Any) -> tuple[SyncResult, JobDouble]:
        job = JobDouble(self.volume)
        arguments = {"manifest": self.manifest.model_dump(), "endpoint": self.url, "token_env": None} | changed
        return SyncResult.model_validate(sync(job.context, **arguments)), job


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    source = write_repo(tmp_path / "repo")
    app = hub_app(source, repo=REPO)
    faulty = FaultyHub(app)
    (tmp_path / "volume").mkdir()
    with serve_app(faulty) as url:
        manifest = fetch_manifest(REPO, app.state.commit, endpoint=url)
        yield Place(source, faulty, url, manifest, VolumeDouble(tmp_path / "volume"))


def answer(method: str, suffix: str, response: Callable[[], Response]) -> Callable[[Scope], Response | None]:
    def choose(scope: Scope) -> Response | None:
        return response() if scope["method"] == method and scope["path"].endswith(suffix) else None

    return choose


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and RESERVED not in path.relative_to(directory).parts
    }


def test_everything_arrives_sealed_and_nothing_else_stays(place: Place) -> None:
    assert missing(place.volume, place.manifest) == place.manifest.files
    result, job = place.sync()
    assert (result.files_fetched, result.files_kept) == (len(place.manifest.files), 0)
    assert result.bytes_fetched == place.manifest.total_bytes
    assert contents(place.model_dir) == contents(place.source)
    for file in place.manifest.files:
        assert stat.S_IMODE((place.model_dir / file.path).stat().st_mode) == 0o444
    assert not list(place.model_dir.rglob(".cache")), "the client's caches must not stay"
    assert {path.name for path in (place.model_dir / RESERVED).iterdir()} == {"manifest.json"}
    assert Manifest.from_json(layout.manifest_file(place.model_dir).read_bytes()) == place.manifest
    assert missing(place.volume, place.manifest) == ()
    last = job.reports[-1]
    assert (last.done, last.total, last.unit) == (place.manifest.total_bytes, place.manifest.total_bytes, "bytes")
    assert all(0 <= report.done <= place.manifest.total_bytes for report in job.reports)


def test_a_second_run_fetches_nothing(place: Place) -> None:
    place.sync()
    place.hub.requests.clear()
    result, _ = place.sync()
    assert (result.files_fetched, result.bytes_fetched) == (0, 0)
    assert result.files_kept == len(place.manifest.files)
    assert place.hub.requests == []


def test_a_file_of_another_size_is_fetched_again_and_the_marker_goes(place: Place) -> None:
    _, job = place.sync()
    model_dir = job.mount.path / layout.model_path(place.manifest)
    mark_ready(model_dir, place.manifest)
    (model_dir / SECOND).unlink()
    (model_dir / SECOND).write_bytes(b"short")
    job.mount.commit()
    assert [file.path for file in missing(place.volume, place.manifest)] == [SECOND]
    place.hub.answer = answer("GET", SECOND, lambda: JSONResponse({"error": "no"}, status_code=403))
    with pytest.raises(Misconfigured):
        place.sync()
    assert not (place.model_dir / SECOND).exists(), "half a file is no evidence of anything"
    place.hub.answer = lambda _scope: None
    place.hub.requests.clear()
    result, _ = place.sync()
    assert place.hub.fetched() == [SECOND]
    assert result.files_fetched == 1
    assert contents(place.model_dir) == contents(place.source)
    assert not layout.ready_file(place.model_dir).exists()


def test_a_complete_and_verified_directory_keeps_its_marker(place: Place) -> None:
    _, job = place.sync()
    mark_ready(job.mount.path / layout.model_path(place.manifest), place.manifest)
    job.mount.commit()
    place.sync()
    assert is_ready(place.volume, place.manifest)


def test_what_was_whole_before_a_failure_is_kept(place: Place) -> None:
    place.hub.answer = answer("GET", THIRD, lambda: JSONResponse({"error": "no"}, status_code=403))
    with pytest.raises(Misconfigured, match="refuses"):
        place.sync(max_workers=1)
    left = {file.path for file in missing(place.volume, place.manifest)}
    assert THIRD in left
    assert SECOND not in left
    assert not (place.model_dir / RESERVED / "incoming").exists()
    place.hub.answer = lambda _scope: None
    place.hub.requests.clear()
    result, _ = place.sync()
    assert set(place.hub.fetched()) == left
    assert result.files_kept == len(place.manifest.files) - len(left)
    assert contents(place.model_dir) == contents(place.source)


def run_child(place: Place, **environment: str) -> subprocess.Popen[str]:
    arguments = [str(place.volume.committed.parent), json.dumps(place.manifest.model_dump()), place.url]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.weights_sync_child", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_sync_resumes_at_the_first_file_that_is_not_whole(place: Place) -> None:
    place.hub.stall_on = place.manifest.files[-1].path
    with run_child(place) as child:
        assert child.stdout is not None
        assert any(int(line) > 0 for line in child.stdout), "it ended without a whole file"
        child.send_signal(signal.SIGKILL)
    place.hub.stall_on = None
    place.hub.requests.clear()
    left = {file.path for file in missing(place.volume, place.manifest)}
    assert 0 < len(left) < len(place.manifest.files)
    result, _ = place.sync()
    assert set(place.hub.fetched()) == left
    assert result.files_fetched == len(left)
    assert contents(place.model_dir) == contents(place.source)
    assert not (place.model_dir / RESERVED / "incoming").exists()


def test_the_users_home_is_not_touched(place: Place, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    nowhere = dict.fromkeys(("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"), "")
    with run_child(place, HOME=str(home), **nowhere) as child:
        child.communicate()
    assert child.returncode == 0
    assert missing(place.volume, place.manifest) == ()
    assert list(home.iterdir()) == []


def test_a_cut_stream_is_resumed_by_range(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)  # the client writes whole chunks only
    place.hub.cut_after = {SECOND: 1000}
    file = next(file for file in place.manifest.files if file.path == SECOND)
    revision = HubRevision(REPO, place.manifest.commit, place.url, None)
    arrived = revision.fetch_file(file, tmp_path, transport="http")
    assert "bytes=1000-" in place.hub.ranges
    assert arrived.read_bytes() == (place.source / SECOND).read_bytes()


def test_a_file_that_was_on_its_way_is_resumed_at_its_last_byte(place: Place) -> None:
    mount = place.volume.mount()
    incoming = layout.incoming_dir(mount.path / layout.model_path(place.manifest))
    file = next(file for file in place.manifest.files if file.path == SECOND)
    (incoming / part_name(file)).write_bytes((place.source / SECOND).read_bytes()[:1000])
    mount.commit()
    place.sync()
    assert place.hub.ranges == ["bytes=1000-"]
    assert contents(place.model_dir) == contents(place.source)
    assert {path.name for path in (place.model_dir / RESERVED).iterdir()} == {"manifest.json"}


def test_a_page_instead_of_a_shard_does_not_arrive(place: Place) -> None:
    place.hub.answer = answer("GET", SECOND, lambda: HTMLResponse("<!DOCTYPE html>Please log in"))
    with pytest.raises(Transient, match="size"):
        place.sync()
    assert SECOND in {file.path for file in missing(place.volume, place.manifest)}
    assert not list(place.model_dir.rglob("*.part")), "nothing to go on from"


def test_another_size_than_the_manifests_does_not_arrive(place: Place) -> None:
    (place.source / "config.json").write_text("{}")
    with pytest.raises(Transient, match=r"config\.json comes with 2 bytes"):
        place.sync()
    assert not (place.model_dir / "config.json").exists()


def test_a_hub_that_fails_is_transient(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # the client backs off for half a minute
    place.hub.answer = answer("HEAD", SECOND, lambda: JSONResponse({"error": "down"}, status_code=503))
    with pytest.raises(Transient, match="busy or failing"):
        place.sync()


def test_a_commit_that_vanished_is_for_the_user_to_change(place: Place) -> None:
    gone = place.manifest.model_copy(update={"commit": "0" * 40})
    with pytest.raises(Misconfigured, match="commit"):
        place.sync(manifest=gone.model_dump())


def test_the_token_comes_from_the_named_variable(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[bytes | None] = set()
    place.hub.answer = lambda scope: seen.add(dict(scope["headers"]).get(b"authorization"))
    with pytest.raises(Misconfigured, match="MY_TOKEN"):
        place.sync(token_env="MY_TOKEN")
    monkeypatch.setenv("MY_TOKEN", "sesame")
    place.sync(token_env="MY_TOKEN")
    assert seen == {b"Bearer sesame"}


def test_neither_the_users_token_nor_the_users_cache_is_used(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    snapshot_download(REPO, revision=place.manifest.commit, endpoint=place.url, cache_dir=cache, token=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_TOKEN", "the-users-own")
    seen: set[bytes | None] = set()
    place.hub.answer = lambda scope: seen.add(dict(scope["headers"]).get(b"authorization"))
    place.hub.requests.clear()
    place.sync()
    assert set(place.hub.fetched()) == {file.path for file in place.manifest.files}
    assert seen == {None}


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "full"), (errno.EROFS, "cannot be written")])
def test_a_full_or_read_only_disk_is_for_the_user_to_change(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def refuse(*_args: object, **_options: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sync_module, "fetch_watched", refuse)
    with pytest.raises(Misconfigured, match=says):
        place.sync()


def test_a_platform_that_stumbles_over_a_passing_file_does_not_end_the_sync(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "COMMIT_EVERY_S", 0.0)
    job = JobDouble(place.volume)
    commit = job.mount.commit

    def stumble_once() -> None:
        job.mount.commit = commit  # type: ignore[method-assign]  # the double gets its own method back
        raise FileNotFoundError("incoming/x.incomplete")

    job.mount.commit = stumble_once  # type: ignore[method-assign]  # a platform's commit, caught in a race
    sync(job.context, manifest=place.manifest.model_dump(), endpoint=place.url, token_env=None)
    assert missing(place.volume, place.manifest) == ()
