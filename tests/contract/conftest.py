"""The places that the contract suite runs against: one for every implementation of the port."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import modal
import pytest

from slipway.platforms.local import LocalPlatform
from slipway.platforms.port import Deployment, Job, Mount, Platform, ServerSpec
from slipway.platforms.resources import Replicas
from slipway.units import utc_now
from slipway.weights.layout import READY_FILE
from slipway.weights.ready import Ready
from tests.support.modal_place import ContractModal
from tests.support.modal_plane import Plane, modal_plane, why_not_here

APP = "app"
KEY_NAME = "CONTRACT_API_KEY"
PYTHON = sys.executable
FAKE_ENGINE = Path(__file__).parents[1] / "support" / "fake_engine.py"
JOBS = "tests.support.platform_jobs"
LONG_S = 60.0
"""A deadline that only a fault reaches."""

WEIGHTS = "d1ge57"
"""Digest of the manifest that the test weights are marked with."""


@dataclass
class Place:
    """One implementation, and what tests need to know beside the port.

    Attributes:
        open: Makes an object for the same state, as another process would.
        opener: `module:class` and the argument for it, for another process.
        scratch: A directory that tests, jobs and servers share, for signs to each other.
        kept: Where the platform keeps its files; None when it is not on this host.
    """

    open: Callable[[], Platform]
    opener: tuple[str, str]
    scratch: Path
    kept: Path | None
    platform: Platform = field(init=False)

    def __post_init__(self) -> None:
        self.platform = self.open()

    def job(self, function: str, *, writing: bool = False, timeout_s: float = LONG_S, **arguments: object) -> object:
        """Run one of `tests.support.platform_jobs` to its end, on the volume `data`."""
        return self.platform.start_job(make_job(self, function, writing=writing, **arguments)).wait(
            timeout_s=timeout_s, progress=lambda _: None
        )

    def spec(
        self, name: str, *engine: str, grace_s: float = 10, health_timeout_s: float = 60, digest: str = WEIGHTS
    ) -> ServerSpec:
        """A server as Slipway starts them: the supervisor, and below it the engine on command."""
        return ServerSpec(
            release_id=name,
            argv=(
                "${python}", "-m", "slipway.engine.supervisor", "--release-id", name, "--model-dir", "${weights}/model",
                "--manifest-digest", digest, "--port", "${port}", "--status-file", "${status}",
                "--health-timeout-s", str(health_timeout_s), "--stop-grace-s", str(grace_s), "--api-key-env", KEY_NAME,
                "--", "${python}", str(FAKE_ENGINE), "--port", "${port}", "--name", name, *engine,
            ),
            env={"SEEN_WEIGHTS": "${weights}"},
            mounts=(Mount("weights", "weights"),),
            secrets=(KEY_NAME,),
            stop_grace_s=grace_s,
            replicas=Replicas(most=2, at_once=16, startup_timeout_s=LONG_S),
        )  # fmt: skip

    def deploy(self, name: str, *engine: str, **options: float) -> Deployment:
        """Start such a server."""
        return self.platform.deploy(APP, self.spec(name, *engine, **options))

    def serve(self, name: str, *engine: str, **options: float) -> Deployment:
        """Start such a server and wait until it is ready."""
        deployment = self.deploy(name, *engine, **options)
        self.platform.wait_ready(deployment, timeout_s=LONG_S)
        return deployment

    def files_with(self, text: bytes) -> list[Path]:
        """Files that the platform keeps here and that contain the text."""
        files = self.kept.rglob("*") if self.kept else ()
        return [file for file in files if file.is_file() and text in file.read_bytes()]

    def headers(self) -> dict[str, str]:
        """What a request to a server needs."""
        return {"Authorization": f"Bearer {self.platform.secret(KEY_NAME)}"}


def make_job(place: Place, function: str, *, writing: bool = False, work: str = "", **arguments: object) -> Job:
    return Job(
        name=function,
        function=f"{JOBS}:{function}",
        arguments=arguments,
        mounts=(Mount("data", "data", read_only=not writing),),
        env={"GATES": str(place.scratch)},
        work=work,
    )


@pytest.fixture(params=["local", pytest.param("modal", marks=pytest.mark.slow)])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "modal":
        request.getfixturevalue("modal_environment")
        place = make_modal_place(tmp_path)
    else:
        root = tmp_path / "platform"
        opener = ("slipway.platforms.local:LocalPlatform", str(root))
        place = _with_weights(Place(lambda: LocalPlatform(root), opener, tmp_path / "scratch", root))
    yield place
    place.open().stop_app(APP)


def make_modal_place(tmp_path: Path) -> Place:
    root = tmp_path / "platform"
    opener = ("tests.support.modal_place:ContractModal", str(root))
    return _with_weights(Place(lambda: ContractModal(root), opener, tmp_path / "scratch", None))


def _with_weights(place: Place) -> Place:
    place.scratch.mkdir()
    marker = Ready(
        manifest_digest=WEIGHTS, repo="org/model", commit="c0ffee", files=1, size_bytes=1, verified_at=utc_now()
    )
    place.platform.volume("weights").write(f"model/{READY_FILE}", marker.model_dump_json().encode())
    return place


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One control plane for all tests; each has an environment of its own in it."""
    if why := why_not_here():
        pytest.skip(why)
    with modal_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture
def modal_environment(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh environment of Modal, to which the client is set."""
    name = f"test-{secrets.token_hex(4)}"
    for variable, value in (plane.env | {"MODAL_ENVIRONMENT": name}).items():
        monkeypatch.setenv(variable, value)
    modal.Environment.objects.create(name)
    yield name
    assert not plane.errors()


def open_platform(opener: str, argument: str) -> str:
    """Python source that binds `platform` to the same platform in another process."""
    module, _, name = opener.partition(":")
    return f"from pathlib import Path; from {module} import {name}; platform = {name}(Path({argument!r}));"


def wait_until(true: Callable[[], object]) -> None:
    """Fail when it does not become true."""
    deadline = time.monotonic() + LONG_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
