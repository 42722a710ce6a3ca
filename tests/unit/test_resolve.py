"""Resolving a profile, and the lock: what is released is what was resolved, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from typer.testing import CliRunner, Result

from slipway.cli.main import app
from slipway.errors import Misconfigured, Rejected
from slipway.kernels.key import kernel_key
from slipway.miniature import hub
from slipway.platforms.port import Platform
from slipway.preflight.findings import examine
from slipway.preflight.plan import errors_among
from slipway.profile import Profile, load_profile, profile_names
from slipway.profile.load import profile_directory, read_profile
from slipway.profile.lock import Lock, lock_path, read_lock
from slipway.registry.reference import digest_in
from slipway.stages.names import Stage
from slipway.stages.planning import plan_run
from slipway.stages.run import Run
from tests.support.registry_double import RegistryDouble, Reply, registry_double
from tests.support.stage_platform import MemoryPlatform

REPO = "acme/tiny"
GLM51 = yaml.safe_load((profile_directory() / "glm51.yaml").read_text())


@pytest.fixture
def registry() -> Iterator[RegistryDouble]:
    with registry_double() as double:
        double.publish("v0.5.10")
        yield double


@pytest.fixture
def place(tmp_path: Path, registry: RegistryDouble) -> Iterator[Place]:
    with hub.serve(_weights(tmp_path / "weights", "{}"), repo=REPO) as address:
        yield Place(tmp_path, registry, address)


def _weights(directory: Path, config: str) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(config)
    return directory


class Place:
    """A profile for Modal whose tag and branch name what a registry and a Hub on loopback have."""

    def __init__(self, directory: Path, registry: RegistryDouble, address: hub.HubAddress) -> None:
        self.registry, self.commit = registry, address.commit
        self.path = directory / "big.yaml"
        self.lock_path = directory / "big.lock.yaml"
        self.image = f"{registry.address}/org/engine:v0.5.10"
        self.document = json.loads(json.dumps(GLM51, default=str))
        self.document["name"] = "big"
        self.document["engine"]["image"] = self.image
        self.document["model"] |= {"repo": REPO, "revision": "main", "hub": address.url, "allow_floating": False}
        self.write()

    def write(self, **parts: dict[str, Any]) -> None:
        for part, values in parts.items():
            self.document[part] |= values
        self.path.write_text(yaml.safe_dump(self.document))

    def resolve(self, *options: str) -> Result:
        return CliRunner().invoke(app, ["resolve", str(self.path), *options])

    def load(self, **options: str) -> Profile:
        return load_profile(str(self.path), **options)

    def run(self) -> Run:
        return Run(self.load(), cast("Platform", MemoryPlatform()), self.document["model"]["hub"])

    @property
    def digest(self) -> str:
        return str(self.registry.manifest("v0.5.10").headers["Docker-Content-Digest"])


def test_a_profile_is_released_by_digest_and_commit(place: Place) -> None:
    result = place.resolve()
    assert result.exit_code == 0, result.output
    lock = read_lock(place.path)
    assert lock is not None
    assert (lock.image.image, lock.image.digest) == (place.image, place.digest)
    assert lock.image.amd64_digest == place.registry.amd64_in("v0.5.10")
    assert (lock.model.repo, lock.model.revision, lock.model.commit) == (REPO, "main", place.commit)

    profile = place.load()
    assert profile.engine.image == f"{place.image}@{place.digest}"
    assert (profile.model.revision, profile.model.allow_floating) == (place.commit, False)
    assert read_profile(str(place.path)).engine.image == place.image, "the file itself stays as people wrote it"


def test_nothing_that_can_move_is_released_on_modal(place: Place) -> None:
    forbidding = {"image-not-pinned", "revision-not-pinned"}
    assert {finding.rule for finding in errors_among(examine(place.load()))} == forbidding
    place.resolve()
    found = {finding.rule for finding in examine(place.load())}
    assert not found & {*forbidding, "revision-floating"}


def test_a_run_is_refused_before_and_names_the_digest_afterwards(place: Place) -> None:
    with pytest.raises(Misconfigured, match="may name something else tomorrow") as caught:
        plan_run(place.run())
    assert "slipway resolve" in caught.value.remedy
    place.write(model={"allow_floating": True})
    with pytest.raises(Misconfigured, match=r"image-not-pinned.*; revision-not-pinned") as caught:
        plan_run(place.run())
    assert "slipway resolve" in caught.value.remedy
    place.resolve()
    run = place.run()
    plan = plan_run(run)
    assert (plan.image, plan.commit) == (f"{place.image}@{place.digest}", place.commit)
    record = run.ledger.load(run.release_id)
    assert record.profile["engine"]["image"] == plan.image
    assert record.profile["model"]["revision"] == place.commit


def test_the_budget_is_compared_with_the_stages_that_run(place: Place) -> None:
    place.resolve()
    whole = plan_run(place.run())
    part_usd = whole.until(Stage.PRECOMPILE).cost_usd
    assert 0 < part_usd < whole.cost_usd
    place.write(budget={"max_cost_usd": (part_usd + whole.cost_usd) / 2})
    with pytest.raises(Rejected, match="more than its budget"):
        plan_run(place.run())
    assert plan_run(place.run(), Stage.PRECOMPILE).cost_usd == part_usd
    place.write(budget={"max_cost_usd": part_usd / 2})
    with pytest.raises(Rejected, match="more than its budget"):
        plan_run(place.run(), Stage.PRECOMPILE)


def test_a_dry_run_of_what_can_move_shows_its_plan(place: Place, monkeypatch: Any) -> None:
    monkeypatch.setattr("slipway.stages.planning.open_platform", lambda *_: MemoryPlatform())
    place.write(model={"allow_floating": True})
    result = CliRunner().invoke(app, ["redeploy", str(place.path), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "image-not-pinned" in result.stdout
    assert "sync weights" in result.stdout


def test_on_this_host_an_image_means_nothing_and_a_branch_is_a_warning(place: Place) -> None:
    place.document["platform"] = "local"
    place.write(engine={"image": "nowhere.example/engine:v0.5.10"}, model={"allow_floating": True})
    assert errors_among(examine(place.load())) == []
    assert "revision-floating" in {finding.rule for finding in examine(place.load())}
    assert place.resolve().exit_code == 0
    assert read_lock(place.path).image is None
    assert (place.load().model.revision, place.load().model.allow_floating) == (place.commit, False)
    assert place.registry.seen == []


def test_resolving_again_changes_nothing_that_is_the_same(place: Place) -> None:
    place.resolve()
    before = place.lock_path.read_bytes()
    result = place.resolve()
    assert place.lock_path.read_bytes() == before
    assert "says the same, since" in result.stdout


def test_a_dry_run_writes_nothing(place: Place) -> None:
    result = place.resolve("--dry-run", "--json")
    told = json.loads(result.stdout)
    assert [pin["now"] for pin in told["pins"]] == [place.digest, place.commit]
    assert told["written"] is False
    assert not place.lock_path.exists()


def test_a_check_without_a_lock_says_what_to_do(place: Place) -> None:
    result = place.resolve("--check")
    assert result.exit_code == 2
    assert "slipway resolve big" in result.stderr


def test_a_check_ends_with_1_when_the_tag_moved_and_leaves_the_lock(place: Place) -> None:
    place.resolve()
    before, old = place.lock_path.read_bytes(), place.digest
    assert place.resolve("--check").exit_code == 0
    place.registry.publish("v0.5.10", salt="rebuilt")

    result = place.resolve("--check", "--json")

    assert result.exit_code == 1
    image, model = json.loads(result.stdout)["pins"]
    assert image == {
        "field": "engine.image",
        "named": place.image,
        "before": old,
        "now": place.digest,
        "moved": True,
    }
    assert model["moved"] is False
    assert place.lock_path.read_bytes() == before
    assert f"was {old}" in place.resolve("--check").stdout.replace("\n", " ")
    assert place.resolve().exit_code == 0
    assert read_lock(place.path).image.digest == place.digest


def test_a_branch_that_was_pushed_to_has_moved(place: Place, tmp_path: Path) -> None:
    place.resolve()
    with hub.serve(_weights(tmp_path / "newer", '{"a": 1}'), repo=REPO) as address:
        place.write(model={"hub": address.url})
        result = place.resolve("--check", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["pins"][1]["now"] == address.commit


@pytest.mark.parametrize(
    "change",
    [
        {"engine": {"image": "127.0.0.1:1/org/engine:v0.5.11"}},
        {"model": {"revision": "stable"}},
        {"model": {"repo": "acme/other"}},
    ],
)
def test_a_lock_of_what_the_profile_was_before_is_refused(place: Place, change: dict[str, Any]) -> None:
    place.resolve()
    place.write(**change)
    with pytest.raises(Misconfigured, match=r"big\.lock\.yaml is not of this profile any more") as caught:
        place.load()
    assert "slipway resolve" in caught.value.remedy
    assert place.resolve("--check").exit_code == 2


def test_what_the_profile_pins_itself_needs_no_lock(place: Place) -> None:
    place.write(engine={"image": f"{place.image}@{place.digest}"}, model={"revision": place.commit})
    assert "needs no lock" in place.resolve().stdout
    assert not place.lock_path.exists()
    assert place.load().engine.image == f"{place.image}@{place.digest}"
    assert place.resolve("--check").exit_code == 0
    place.registry.publish("v0.5.10", salt="rebuilt")
    assert place.resolve("--check").exit_code == 1, "the tag beside the digest has moved"
    assert place.resolve().exit_code == 0, "the digest is still there"


def test_a_pinned_image_that_is_gone_is_refused(place: Place) -> None:
    place.write(engine={"image": f"{place.image}@sha256:{'0' * 64}"})
    result = place.resolve()
    assert result.exit_code == 2
    assert "There is no sha256:000" in result.stderr.replace("\n", "")


def test_an_old_lock_does_not_outlive_what_people_pin(place: Place) -> None:
    place.resolve()
    pinned = f"{place.image}@sha256:{'1' * 64}"
    place.write(engine={"image": pinned}, model={"revision": "f" * 40})
    assert place.load().engine.image == pinned
    assert place.load().model.revision == "f" * 40


def test_a_revision_asked_for_goes_before_the_lock(place: Place) -> None:
    place.resolve()
    profile = place.load(revision="e" * 40)
    assert profile.model.revision == "e" * 40
    assert digest_in(profile.engine.image) == place.digest


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "profile: big\nimage: {}\n", "profile: big\nresolved_at: 2026-01-01T00:00:00\n", "a: 1\na: 2\n"],
)
def test_a_lock_that_somebody_edited_is_refused(place: Place, content: str) -> None:
    place.lock_path.write_text(content)
    with pytest.raises(Misconfigured, match=r"big\.lock\.yaml"):
        place.load()
    assert place.resolve("--json").exit_code == 2


def test_a_place_that_cannot_be_written_is_told(place: Place) -> None:
    place.lock_path.mkdir()
    result = place.resolve()
    assert result.exit_code == 2
    assert "What to do:" in result.stderr


@pytest.mark.parametrize(
    ("fault", "exit_code"), [(Reply(404), 2), (Reply(429, headers={"Retry-After": "900"}), 3), (Reply(403), 2)]
)
def test_a_registry_that_refuses_ends_it_without_a_lock(place: Place, fault: Reply, exit_code: int) -> None:
    place.registry.faults.append(fault)
    assert place.resolve().exit_code == exit_code
    assert not place.lock_path.exists()


def test_locks_are_no_profiles() -> None:
    assert lock_path(Path("a/glm51.yaml")) == Path("a/glm51.lock.yaml")
    assert not [name for name in profile_names() if name.endswith(".lock")]


def test_kernels_belong_to_the_bytes_and_not_to_their_tag(place: Place) -> None:
    place.resolve()
    profile = place.load()
    renamed = profile.engine.model_copy(update={"image": f"{place.image}-cu130@{place.digest}"})
    other = profile.engine.model_copy(update={"image": f"{place.image}@sha256:{'2' * 64}"})
    key = kernel_key(profile, "d").digest
    assert kernel_key(profile.model_copy(update={"engine": renamed}), "d").digest == key
    assert kernel_key(profile.model_copy(update={"engine": other}), "d").digest != key


def test_a_lock_survives_its_file(place: Place) -> None:
    place.resolve()
    lock = read_lock(place.path)
    assert lock == Lock.model_validate(yaml.safe_load(place.lock_path.read_text()))
    assert place.lock_path.read_text().startswith("# Written by `slipway resolve`.")
