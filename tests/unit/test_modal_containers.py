"""What runs in containers imports where only the packages of their image are: a real environment with just these."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import modal
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import slipway
from slipway.platforms.modal.images import JOB_PACKAGES, LEFT_OUT

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


def installed_with(names: tuple[str, ...]) -> dict[str, metadata.Distribution]:
    """Distributions by name: these, and all that they require on this machine."""
    found: dict[str, metadata.Distribution] = {}
    wanted = [canonicalize_name(name) for name in names]
    while wanted:
        if (name := wanted.pop()) in found:
            continue
        found[name] = metadata.distribution(name)
        required = [Requirement(text) for text in found[name].requires or ()]
        wanted += [canonicalize_name(r.name) for r in required if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


def files_of(distribution: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Each file below site-packages: its path there, and where it is."""
    for file in distribution.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            yield str(file), Path(str(distribution.locate_file(file)))


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Python of an environment that has what the image of jobs has, and the sources that a container is given."""
    root = tmp_path_factory.mktemp("container")
    venv.create(root / "venv", symlinks=True, with_pip=False)
    (packages,) = (root / "venv").glob("lib/python*/site-packages")
    for distribution in installed_with(JOB_PACKAGES).values():
        for name, file in files_of(distribution):
            target = packages / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    source, left_out = Path(slipway.__file__).parent, modal.FilePatternMatcher(*LEFT_OUT)

    def ignored(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if left_out(Path(directory, name).relative_to(source))]

    shutil.copytree(source, root / "sources" / "slipway", ignore=ignored)
    return root / "venv" / "bin" / "python", root / "sources"


def run(container: tuple[Path, Path], code: str) -> subprocess.CompletedProcess[str]:
    python, sources = container
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    arguments = [python, "-P", "-c", code]
    env |= {"PYTHONPATH": str(sources), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(arguments, env=env, cwd=sources, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_it_imports_where_only_its_image_is(container: tuple[Path, Path]) -> None:
    done = run(container, "\n".join(f"import {module}" for module in IN_CONTAINERS))
    assert done.returncode == 0, done.stderr


def test_nothing_else_is_there(container: tuple[Path, Path]) -> None:
    absent = ("prefect", "modal", "typer", "matplotlib", "slipway.cli.main")
    tried = "\n".join(f"try:\n import {name}\n print({name!r})\nexcept ModuleNotFoundError: pass" for name in absent)
    done = run(container, tried)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
