"""The client's side of a test: the app of `tiny_app`, a client of its own, the CLI."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import modal
import pytest

from tests.support.modal_plane.plane import Plane
from tests.support.modal_plane.rpc import TOKEN_ID, TOKEN_SECRET

TINY = Path(__file__).with_name("tiny_app.py")
MODAL = Path(sys.executable).with_name("modal")


@dataclass
class Client:
    """A plane and a client of it in this process."""

    plane: Plane
    client: modal.Client

    def deploy(self, name: str, release: str = "r1", *, start_s: float = 0, **options: Any) -> None:
        load(release, start_s).app.deploy(name=name, client=self.client, **options)

    def function(self, app: str, name: str, **options: Any) -> modal.Function:
        return modal.Function.from_name(app, name, client=self.client, **options)

    def act(self, app: str, *steps: Any) -> list[Any]:
        return self.function(app, "act").remote(steps)

    def volume(self, name: str, **options: Any) -> modal.Volume:
        return modal.Volume.from_name(name, client=self.client, **options)

    def url(self, app: str) -> str:
        serve = modal.Cls.from_name(app, "Serve", client=self.client)
        url = serve().serve.get_web_url()
        assert url is not None
        return url

    def cli(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [MODAL, *arguments],
            env={**os.environ, **self.plane.env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done


def connect(plane: Plane, secret: str = TOKEN_SECRET) -> Client:
    """A client of its own, whatever other tests use; the environment is read only while it is made."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in plane.env.items():
            patch.setenv(name, value)
        return Client(plane, modal.Client.from_credentials(TOKEN_ID, secret))


def load(release: str, start_s: float = 0) -> ModuleType:
    """The app as a release of it would be loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY_RELEASE", release)
        patch.setenv("TINY_START_S", str(start_s))
        spec = importlib.util.spec_from_file_location("tiny_app", TINY)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "tiny_app", module)
        spec.loader.exec_module(module)
        return module
