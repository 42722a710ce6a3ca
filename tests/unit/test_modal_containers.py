"""What runs in containers imports neither Prefect nor Modal, but for the two modules that Modal itself calls."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slipway.platforms.modal.images import JOB_PACKAGES

IN_CONTAINERS = (
    "slipway.engine.supervisor",
    "slipway.gates.session",
    "slipway.kernels.build",
    "slipway.kernels.precompile",
    "slipway.measure.datasets",
    "slipway.miniature.server",
    "slipway.weights.repair",
    "slipway.weights.sync",
    "slipway.weights.tiers",
    "slipway.weights.verify",
)
BLOCKED = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"prefect", "modal", "typer", "matplotlib", "fastapi"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize("module", IN_CONTAINERS)
def test_it_imports_where_there_is_neither(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{BLOCKED}import {module}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_neither_is_installed_for_jobs() -> None:
    assert not {"prefect", "modal"} & set(JOB_PACKAGES)
