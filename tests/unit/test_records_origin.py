"""The version of Slipway in a record: with the commit where there is one, without where git cannot tell."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from slipway.records.origin import slipway_version

VERSION = metadata.version("slipway")


def git(directory: Path, *words: str) -> str:
    command = ["git", "-C", str(directory), "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / "file").write_text("as committed")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--message", "one", "--no-gpg-sign")
    git(tmp_path, "tag", "v9")
    return tmp_path


def test_a_checkout_names_its_commit_and_whether_files_differ(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    (checkout / "beside").write_text("untracked files are none of it")
    assert slipway_version(checkout) == f"{VERSION}+{commit}"
    (checkout / "file").write_text("changed")
    assert slipway_version(checkout) == f"{VERSION}+{commit}.dirty"


def test_without_git_it_is_the_version_alone(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slipway_version(tmp_path / "installed") == VERSION
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert slipway_version(checkout) == VERSION
