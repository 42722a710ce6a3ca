"""A repository behind a Hub that can be made to misbehave, and a volume: what weights jobs work between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from slipway.miniature.hub import commit_of, hub_app, serve_app
from slipway.weights import layout
from slipway.weights.hub import fetch_manifest
from slipway.weights.manifest import RESERVED, Manifest, ManifestFile
from slipway.weights.sync import SyncResult, sync
from slipway.weights.verify import VerifyResult, verify
from tests.support.hub_faults import Answer, FaultyHub
from tests.support.weights_repo import REPO, write_repo
from tests.support.weights_volume import JobDouble, VolumeDouble


@dataclass
class WeightsPlace:
    """See the module."""

    source: Path
    hub: FaultyHub
    url: str
    manifest: Manifest
    volume: VolumeDouble

    @property
    def model_dir(self) -> Path:
        return self.volume.committed / layout.model_path(self.manifest)

    def file(self, path: str) -> ManifestFile:
        return next(file for file in self.manifest.files if file.path == path)

    def job(self) -> JobDouble:
        return JobDouble(self.volume)

    def sync(self, job: JobDouble | None = None, **changed: Any) -> SyncResult:
        arguments = {"manifest": self.manifest.model_dump(), "endpoint": self.url, "token_env": None} | changed
        return SyncResult.model_validate(sync((job or self.job()).context, **arguments))

    def verify(self, job: JobDouble | None = None) -> VerifyResult:
        return VerifyResult.model_validate(verify((job or self.job()).context, manifest=self.manifest.model_dump()))

    @contextmanager
    def damage(self) -> Iterator[Path]:
        """Write into the model's directory at rest."""
        mount = self.volume.mount()
        model_dir = mount.path / layout.model_path(self.manifest)
        for path in model_dir.rglob("*"):
            path.chmod(0o755)
        yield model_dir
        mount.commit()

    def quarantined(self) -> list[str]:
        directory = layout.quarantine_dir(self.model_dir)
        return sorted(path.name.partition("-")[2] for path in directory.iterdir()) if directory.exists() else []

    def contents(self) -> dict[str, bytes]:
        return contents(self.model_dir)


@contextmanager
def weights_place(directory: Path, source: Path | None = None) -> Iterator[WeightsPlace]:
    """A place under `directory`, with an empty volume.

    Args:
        directory: Where it lies.
        source: The repository's files; None: a few small shards.
    """
    source = source or write_repo(directory / "repo")
    hub = FaultyHub(hub_app(source, repo=REPO))
    (directory / "volume").mkdir()
    with serve_app(hub) as url:
        manifest = fetch_manifest(REPO, commit_of(source), endpoint=url)
        yield WeightsPlace(source, hub, url, manifest, VolumeDouble(directory / "volume"))


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and RESERVED not in path.relative_to(directory).parts
    }


def answer(method: str, suffix: str, response: Callable[[], Response]) -> Answer:
    def choose(scope: Scope) -> Response | None:
        return response() if scope["method"] == method and scope["path"].endswith(suffix) else None

    return choose


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
