"""Weights in a directory of this machine, without a profile or a platform: the same jobs, in this process."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slipway.errors import Busy, Misconfigured
from slipway.files import try_lock
from slipway.platforms.outcomes import imported
from slipway.platforms.port import JobContext, ProgressSink
from slipway.profile.models import WeightsSpec
from slipway.weights import layout
from slipway.weights.hub import fetch_manifest, token_from
from slipway.weights.manifest import Manifest

TOKEN_ENV: Final = "HF_TOKEN"  # noqa: S105 - the name of a variable, the Hub client's own
_WANTED: Final = re.compile(r"(?P<repo>[^@\s]+/[^@\s]+)@(?P<revision>[^@\s]+)")


@dataclass(frozen=True, slots=True)
class DirectoryWork:
    """Some weights and the directory that shall hold exactly their files.

    Attributes:
        directory: Where.
        manifest: Which files.
        progress: Told how far a job is.
        spec: How they are fetched; read by as many threads as this machine has use for.
    """

    directory: Path
    manifest: Manifest
    progress: ProgressSink
    spec: WeightsSpec = field(default_factory=WeightsSpec)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the directory, for there is one writer of each; one that dies holds nothing.

        Raises:
            Busy: If another process writes it.
        """
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if not try_lock(descriptor):
                raise Busy(f"Another process writes {self.directory}.", remedy="Wait until it has ended, or end it.")
            yield
        finally:
            os.close(descriptor)

    def run(self, function: str, **arguments: Any) -> Any:
        """Run a job of `slipway.weights`, `module:name`, to its end."""
        with tempfile.TemporaryDirectory(prefix="slipway-weights-") as view:
            place = Path(view) / layout.model_path(self.manifest)
            place.parent.mkdir(parents=True)
            place.symlink_to(self.directory.resolve())
            context = JobContext({layout.MOUNT: _Mount(Path(view))}, self.progress)
            job = imported(f"slipway.weights.{function}")
            return job(context, manifest=self.manifest.model_dump(mode="json"), **arguments)

    def run_all(self, function: str, each: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run a job with each of several arguments, one after the other: each of them uses the whole machine."""
        return [self.run(function, **arguments) for arguments in each]

    @property
    def source(self) -> dict[str, object]:
        """The Hub, as arguments of jobs that ask it for files."""
        return {"endpoint": None, "token_env": _token_env()}


class _Mount:
    """The port's `MountedVolume` over what is there: whatever is written counts at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def commit(self) -> None:
        """Nothing: it is written."""

    def reload(self) -> None:
        """Nothing: it is seen."""


def directory_work(wanted: str, directory: Path, progress: ProgressSink) -> DirectoryWork:
    """The work on a directory, made if it is not there.

    Args:
        wanted: What it shall hold, as `REPO@COMMIT`. The Hub is the client's own, `HF_ENDPOINT` and `HF_TOKEN` count.
        directory: Where.
        progress: Told how far a job is.

    Raises:
        Misconfigured: If that names no weights, or the Hub refuses.
        Transient: If the Hub cannot be reached.
    """
    named = _WANTED.fullmatch(wanted)
    if named is None:
        raise Misconfigured(
            f"{wanted!r} does not say which weights {directory} shall hold.",
            remedy="With --directory, name them as REPO@COMMIT, as in zai-org/GLM-5.1-FP8@0123….",
        )
    manifest = fetch_manifest(named["repo"], named["revision"], token=token_from(_token_env()))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"{directory} cannot be a directory: {error}.", remedy="Name another.") from error
    return DirectoryWork(directory, manifest, progress)


def _token_env() -> str | None:
    return TOKEN_ENV if os.environ.get(TOKEN_ENV) else None
