"""Every fault that Hub, network, volume and machine are known for, through the real client; docs/weights.md lists them.

In none: a READY marker over wrong bytes, a good shard lost, a wait without end, an error that does not say what to do.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from starlette.types import Scope

from slipway.errors import Busy, Corrupt, Misconfigured, SlipwayError, Transient
from slipway.files import locked
from slipway.miniature.hub import commit_of, hub_app, serve_app
from slipway.platforms.local import LocalPlatform, generations
from slipway.platforms.local.mounts import mount
from slipway.platforms.local.volumes import LocalVolume
from slipway.platforms.port import JobContext
from slipway.profile import load_profile
from slipway.stages.planning import weights_volume
from slipway.stages.weights import WeightsWork, hash_all
from slipway.weights import layout, repair, tiers, verify
from slipway.weights import sync as sync_module
from slipway.weights.hub import fetch_manifest
from slipway.weights.ready import is_ready, missing
from tests.support import hub_answers as answers
from tests.support.hub_answers import always, asked, first
from tests.support.weights_place import WeightsPlace, flip, weights_place
from tests.support.weights_repo import INDEX, REPO, SHARDS, index_of, shard_bytes, with_header, write_repo
from tests.support.weights_volume import JobDouble

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = SHARDS
ROOT = Path(__file__).parents[2]
STALL_S = 5.0
"""More than a process takes to start on a busy machine."""

Arrange = Callable[[WeightsPlace], None]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[WeightsPlace]:
    with weights_place(tmp_path) as place:
        yield place


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own back-off before the first byte takes half a minute; what is tested comes after it."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.05)))


def settles(place: WeightsPlace) -> None:
    """With the fault gone the next run fetches just the rest, and everything can be proved."""
    assert not is_ready(place.volume, place.manifest)
    left = {file.path for file in missing(place.volume, place.manifest)}
    place.hub.answer = lambda _scope: None
    place.hub.requests.clear()
    place.sync()
    assert set(place.hub.fetched()) == left, "good files are kept, the rest is fetched"
    place.verify()
    assert is_ready(place.volume, place.manifest)
    assert place.contents() == {
        path.relative_to(place.source).as_posix(): path.read_bytes()
        for path in place.source.rglob("*")
        if path.is_file()
    }


def answering(make: Callable[[WeightsPlace], answers.Answer]) -> Arrange:
    def arrange(place: WeightsPlace) -> None:
        place.hub.answer = make(place)

    return arrange


REFUSED: dict[str, tuple[Arrange, type[SlipwayError], str]] = {
    "401": (answering(lambda _: always(asked("HEAD"), answers.refusal(401))), Misconfigured, "token"),
    "403 gated": (
        answering(lambda _: always(asked("HEAD"), answers.refusal(403, code="GatedRepo"))),
        Misconfigured,
        "Accept its terms",
    ),
    "404 revision": (
        answering(lambda _: always(asked("HEAD"), answers.refusal(404, code="RevisionNotFound"))),
        Misconfigured,
        "Pin a commit that exists",
    ),
    "403 on one file": (
        answering(lambda _: always(asked("GET", SECOND), answers.refusal(403))),
        Misconfigured,
        "valid token",
    ),
    "500 for ever": (answering(lambda _: always(asked("GET", SECOND), answers.refusal(500))), Transient, "minute"),
    "502 for ever": (answering(lambda _: always(asked("HEAD"), answers.refusal(502))), Transient, "minute"),
    "redirect loop": (
        answering(lambda _: always(asked("GET", SECOND), answers.redirect_to_itself())),
        Transient,
        "Run again",
    ),
    "page": (answering(lambda _: always(asked("GET", SECOND), answers.page())), Transient, "Run again"),
    "another ETag": (
        answering(lambda p: always(asked("HEAD", SECOND), answers.another_etag(p.file(SECOND).size_bytes))),
        Transient,
        "answers in its place",
    ),
    "stall for ever": (
        answering(lambda _: always(asked("GET", SECOND), answers.stall(after=b"x" * 9, size_bytes=33000))),
        Transient,
        "weights.stall_timeout_s",
    ),
    "trickle, which is a stall": (
        answering(lambda _: always(asked("GET", SECOND), answers.trickle(body=bytes(33000), every_s=0.2))),
        Transient,
        "weights.stall_timeout_s",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_ends_with_what_to_do(place: WeightsPlace, fault: str) -> None:
    arrange, kind, remedy = REFUSED[fault]
    arrange(place)
    began_s = time.monotonic()
    with pytest.raises(kind) as error:
        place.sync(stall_s=STALL_S if "stall" in fault else 60)
    assert type(error.value) is kind
    assert remedy in str(error.value)
    assert time.monotonic() - began_s < 120
    settles(place)


OVERCOME: dict[str, Arrange] = {
    "429 with Retry-After": answering(
        lambda _: first(1, asked("GET", SECOND), answers.refusal(429, **{"Retry-After": "1"}))
    ),
    "503 burst before the first byte": answering(lambda _: first(2, asked("HEAD"), answers.refusal(503))),
    "connection reset mid-file": lambda place: place.hub.cut_after.update({SECOND: 1000, FIRST: 10}),
    "stall without close": answering(
        lambda _: first(1, asked("GET", SECOND), answers.stall(after=b"", size_bytes=33000))
    ),
}


@pytest.mark.parametrize("fault", OVERCOME)
def test_is_overcome_in_the_same_run(place: WeightsPlace, fault: str) -> None:
    OVERCOME[fault](place)
    result = place.sync(stall_s=STALL_S if "stall" in fault else 60)
    assert result.restarts == (1 if fault.startswith("stall") else 0)
    assert missing(place.volume, place.manifest) == ()
    settles(place)


def test_a_range_that_is_ignored_spoils_nothing(place: WeightsPlace) -> None:
    place.hub.cut_after = {SECOND: 1000}
    place.hub.answer = answers.without_range(place.hub, lambda scope: False)
    place.hub.answer = answers.without_range(
        place.hub.app, lambda scope: any(k == b"range" for k, _ in scope["headers"])
    )
    place.sync()
    settles(place)


@pytest.mark.parametrize("where", ["on the way", "at rest"])
def test_wrong_bytes_of_the_right_size_never_become_ready(place: WeightsPlace, where: str) -> None:
    if where == "on the way":
        flip(place.source / SECOND, -1)
        place.sync()
        flip(place.source / SECOND, -1)
    else:
        place.sync()
        with place.damage() as model_dir:
            flip(model_dir / SECOND, -1)
    with pytest.raises(Corrupt, match=SECOND) as error:
        place.verify()
    assert error.value.remedy
    settles(place)


def test_a_branch_that_was_pushed_over_leaves_what_is_there(place: WeightsPlace) -> None:
    place.sync()
    place.verify()
    (place.source / "config.json").write_text('{"architectures": ["Other"]}')
    with serve_app(hub_app(place.source, repo=REPO)) as url:
        assert commit_of(place.source) != place.manifest.commit
        with pytest.raises(Misconfigured, match="history may have been rewritten"):
            fetch_manifest(REPO, place.manifest.commit, endpoint=url)
        assert place.sync(endpoint=url).files_fetched == 0
    assert is_ready(place.volume, place.manifest), "the pinned commit is still what it was"


def overlapping() -> bytes:
    data = shard_bytes(SHARDS[FIRST])
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["head.weight"]["data_offsets"] = header["embed.weight"]["data_offsets"]
    return with_header(header, data[end:])


def naming_a_shard_that_is_not_there() -> bytes:
    index = index_of(SHARDS)
    index["weight_map"]["norm.weight"] = "model-00009-of-00003.safetensors"
    return json.dumps(index).encode()


@pytest.mark.parametrize(
    ("file", "data", "says"),
    [(INDEX, naming_a_shard_that_is_not_there(), "model-00009"), (FIRST, overlapping(), "an overlap|a gap")],
    ids=["index", "offsets"],
)
def test_what_was_published_wrong_is_refused(tmp_path: Path, file: str, data: bytes, says: str) -> None:
    source = write_repo(tmp_path / "repo")
    (source / file).write_bytes(data)
    with weights_place(tmp_path, source) as place:
        place.sync()
        with pytest.raises(Corrupt, match=says) as error:
            place.verify()
        assert "pin another commit" in error.value.remedy
        assert not is_ready(place.volume, place.manifest)
        assert missing(place.volume, place.manifest) == (), "nothing is lost"


def test_too_little_room_is_told_before_a_byte_moves(place: WeightsPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    def small(path: str) -> os.statvfs_result:
        fields = list(real(path))
        fields[4] = 1  # f_bavail
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", small)
    with pytest.raises(Misconfigured, match=r"are needed.* prune"):
        place.sync()
    assert place.hub.fetched() == []
    monkeypatch.undo()
    settles(place)


def test_too_few_inodes_are_told_before_a_byte_moves(place: WeightsPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    def few(path: str) -> os.statvfs_result:
        fields = list(real(path))
        fields[5], fields[7] = 1000, 3  # f_files, f_favail
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", few)
    with pytest.raises(Misconfigured, match="room for 3 more files"):
        place.sync()
    assert place.hub.fetched() == []


@contextmanager
def file_system(directory: Path, *options: str) -> Iterator[None]:
    """A small one in memory, mounted at a directory."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", *options, "tmpfs", directory], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"mounting needs root: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def make_read_only(directory: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", directory], check=True)


@pytest.mark.parametrize("since", ["the beginning", "the third file"])
def test_a_volume_that_cannot_be_written_is_told(place: WeightsPlace, since: str) -> None:
    job = place.job()
    with file_system(job.mount.path):
        if since == "the beginning":
            make_read_only(job.mount.path)
        else:
            turned: list[str] = []

            def turn(scope: Scope) -> None:
                if scope["method"] == "HEAD" and scope["path"].endswith(THIRD) and not turned:
                    turned.append(scope["path"])
                    make_read_only(job.mount.path)

            place.hub.answer = turn
        with pytest.raises(Misconfigured, match=r"cannot be written: .*Read-only file system.* Mount it for writing"):
            place.sync(job, max_workers=1)
    left = {file.path for file in missing(place.volume, place.manifest)}
    assert {THIRD} <= left if since == "the beginning" else THIRD in left and FIRST not in left
    settles(place)


def test_a_verification_of_a_volume_that_cannot_be_written_is_told(place: WeightsPlace) -> None:
    place.sync()
    job = place.job()
    target = job.mount.path
    kept = place.volume.new_directory()
    shutil.copytree(target, kept, dirs_exist_ok=True)
    with file_system(target):
        shutil.copytree(kept, target, dirs_exist_ok=True)
        make_read_only(target)
        with pytest.raises(Misconfigured, match="cannot be written"):
            place.verify(job)
    assert not is_ready(place.volume, place.manifest)
    place.verify()


def test_a_full_file_system_is_told_by_the_fetch_itself(
    place: WeightsPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    with file_system(small, "-o", "size=24k"):
        job = place.job()
        job.mount.path = small
        monkeypatch.setattr(sync_module, "require_room", lambda *_arguments, **_options: None)
        with pytest.raises(Misconfigured, match="is full"):
            place.sync(job)


def test_a_commit_that_conflicts_loses_nothing(
    place: WeightsPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the local platform, while another process makes a state of the volume and does not come to its end."""
    volume = LocalVolume(tmp_path / "platform", "weights")
    mounted = mount(volume, read_only=False)
    context = JobContext({layout.MOUNT: mounted}, lambda _progress: None)
    arguments = {"manifest": place.manifest.model_dump(), "endpoint": place.url, "token_env": None}
    monkeypatch.setattr(sync_module, "COMMIT_EVERY_S", 0.0)
    monkeypatch.setattr(generations, "locked", partial(locked, timeout_s=0.05))
    with volume.generations.lock(), pytest.raises(Transient, match="has been locked by another process"):
        sync_module.sync(context, **arguments)
    assert missing(volume, place.manifest) == place.manifest.files, "nothing was committed"
    assert sync_module.sync(context, **arguments)["files_fetched"] == 0, "but all had been fetched, and is kept"
    assert missing(volume, place.manifest) == ()
    mounted.close()


def test_a_conflict_under_way_is_passed_over(place: WeightsPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_module, "COMMIT_EVERY_S", 0.0)
    job = place.job()
    commit, refused = job.mount.commit, itertools.count()

    def conflict_once() -> None:
        if next(refused) == 0:
            raise Transient("Another writer was first.", remedy="Run again.")
        commit()

    monkeypatch.setattr(job.mount, "commit", conflict_once)
    place.sync(job)
    assert missing(place.volume, place.manifest) == ()
    settles(place)


def test_a_warm_container_can_reload_after_every_job(place: WeightsPlace) -> None:
    """A reload is refused while a file is open, and containers are used again: no job may leave one open."""
    job = place.job()
    arguments = {"manifest": place.manifest.model_dump()}
    hub = {"endpoint": place.url, "token_env": None}
    jobs: list[Callable[[], object]] = [
        lambda: sync_module.sync(job.context, **arguments, **hub),
        lambda: verify.verify(job.context, **arguments),
        lambda: tiers.quick(job.context, **arguments),
        lambda: tiers.sampled(job.context, **arguments, **hub, seed=1),
        lambda: repair.repair(job.context, **arguments, **hub),
    ]
    for run in jobs:
        run()
        job.mount.reload()
    shard = job.mount.path / layout.model_path(place.manifest) / FIRST
    with shard.open("rb"), pytest.raises(Misconfigured, match="is busy"):
        job.mount.reload()
    with place.damage() as model_dir:
        flip(model_dir / SECOND, -1)
    job.mount.reload()
    with pytest.raises(Corrupt):
        verify.verify(job.context, **arguments)
    job.mount.reload()


def test_clocks_that_jump_by_years_end_and_spoil_nothing(place: WeightsPlace, tmp_path: Path) -> None:
    """In the process that watches, and in the one that fetches."""
    seen = tmp_path / "pids"
    jumping = str(ROOT / "tests" / "support" / "jumping_clock")
    environment = {"JUMPING_CLOCK": str(seen), "PYTHONPATH": os.pathsep.join([jumping, str(ROOT)])}
    with sync_child(place, **environment) as child:
        assert child.wait(120) == 0
    assert len(seen.read_text().split()) >= 2
    assert missing(place.volume, place.manifest) == ()
    settles(place)


def commands(place: WeightsPlace, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `slipway weights …` in a process of its own, for a profile of these weights."""
    document = load_profile("miniature").model_dump(mode="json")
    document["model"] |= {"repo": REPO, "revision": place.manifest.commit, "hub": place.url}
    profile = tmp_path / "profile.yaml"
    profile.write_text(json.dumps(document))

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from slipway.cli.main import main; main()", "weights"]
        environment = {**os.environ, "SLIPWAY_HOME": str(tmp_path / "home")}
        return subprocess.Popen(
            [*command, *words, str(profile), "--json"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )

    return start


def test_two_syncs_at_once_one_writes_and_a_dead_one_holds_nothing(place: WeightsPlace, tmp_path: Path) -> None:
    start = commands(place, tmp_path)
    place.hub.stall_on = THIRD
    with start("sync") as first:
        deadline_s = time.monotonic() + 60
        while not any(THIRD in path for path in place.hub.fetched()):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        said, _ = (second := start("sync")).communicate(timeout=60)
        first.send_signal(signal.SIGKILL)
    assert second.returncode == 2
    assert json.loads(said)["error"] == "Busy"
    place.hub.stall_on = None
    said, _ = (third := start("sync")).communicate(timeout=60)
    assert third.returncode == 0, said
    said, _ = (last := start("verify")).communicate(timeout=60)
    assert last.returncode == 0, said


def test_two_jobs_at_once_without_a_lease_leave_every_file_whole(place: WeightsPlace, tmp_path: Path) -> None:
    platform = LocalPlatform(tmp_path / "platform")
    profile = load_profile("miniature")
    work = WeightsWork(platform, profile, place.manifest, place.url, 60.0, lambda _progress: None)
    both = [platform.start_job(work.job("sync:sync", **work.source)) for _ in range(2)]
    for job in both:
        job.wait(timeout_s=60, progress=work.progress)
    hash_all(work)
    assert is_ready(platform.volume(weights_volume(profile)), place.manifest)


def test_one_writer_a_revision_and_another_beside_it(place: WeightsPlace, tmp_path: Path) -> None:
    profile = load_profile("miniature")
    work = WeightsWork(LocalPlatform(tmp_path), profile, place.manifest, place.url, 60.0, lambda _progress: None)
    other = replace(work, manifest=place.manifest.model_copy(update={"commit": "0" * 40}))
    with work.writing(), other.writing(), pytest.raises(Busy), work.writing():
        pass


def sync_child(place: WeightsPlace, **environment: str) -> subprocess.Popen[str]:
    arguments = [str(place.volume.committed.parent), json.dumps(place.manifest.model_dump()), place.url]
    command = [sys.executable, "-m", "tests.support.weights_sync_child", *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_told_to_end_it_commits_what_is_whole(place: WeightsPlace) -> None:
    place.hub.stall_on = THIRD
    with sync_child(place) as child:
        assert child.stdout is not None
        assert any(int(line) > 0 for line in child.stdout)
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) != 0
    place.hub.stall_on = None
    assert len(missing(place.volume, place.manifest)) < len(place.manifest.files)
    settles(place)


def test_told_to_end_in_the_middle_of_a_commit_it_ends(place: WeightsPlace) -> None:
    place.hub.stall_on = THIRD
    job = JobDouble(place.volume)
    job.mount.on_commit = lambda: signal.raise_signal(signal.SIGTERM) if job.mount.commits == 1 else None
    manifest = place.manifest.model_dump(mode="json")
    with pytest.raises(Transient, match="told to end"):
        sync_module.sync(job.context, manifest=manifest, endpoint=place.url, token_env=None, max_workers=1, stall_s=20)
    place.hub.stall_on = None
    settles(place)


def test_killed_at_twenty_points_it_arrives(place: WeightsPlace) -> None:
    chance = random.Random(20)
    for _ in range(20):
        with sync_child(place) as child:
            try:
                child.wait(chance.uniform(0.3, 3.0))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
        assert not is_ready(place.volume, place.manifest)
    settles(place)


def test_a_fetch_does_not_outlive_who_watches_it(place: WeightsPlace) -> None:
    place.hub.stall_on = THIRD
    with sync_child(place) as child:
        assert child.stdout is not None
        assert any(int(line) > 0 for line in child.stdout)
        child.send_signal(signal.SIGKILL)
    place.hub.requests.clear()
    deadline_s = time.monotonic() + 10
    while (fetchers := _fetchers(place)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not fetchers


def _fetchers(place: WeightsPlace) -> list[str]:
    """Command lines of fetches into this test's volume that still run."""
    root = str(place.volume.committed.parent)
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if root in line and "slipway.weights.fetcher" in line:
            found.append(line)
    return found
