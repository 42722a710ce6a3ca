"""`slipway weights … --directory`: a directory of this machine, and no profile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import snapshot_download

from slipway.files import try_lock
from slipway.miniature.hub import HubAddress, serve
from slipway.weights.layout import READY_FILE
from tests.support.weights_place import contents, flip
from tests.support.weights_repo import REPO, SHARDS, write_repo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SECOND = list(SHARDS)[1]


@dataclass
class Machine:
    """A repository on a Hub, and a directory that is to hold it."""

    source: Path
    hub: HubAddress
    directory: Path

    @property
    def wanted(self) -> str:
        return f"{REPO}@{self.hub.commit}"

    def run(self, command: str, wanted: str, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code and JSON of a command, in a process that knows the Hub by the client's own variable."""
        words = ["weights", command, wanted, "--directory", str(self.directory), "--json", *options]
        program = "import sys; from slipway.cli.main import main; main()"
        environment = {**os.environ, "HF_ENDPOINT": self.hub.url}
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    source = write_repo(tmp_path / "repo")
    with serve(source, repo=REPO) as hub:
        yield Machine(source, hub, tmp_path / "data" / "model")


def test_files_are_fetched_proved_and_mended(machine: Machine) -> None:
    code, synced = machine.run("sync", machine.wanted)
    assert (code, synced["files_kept"]) == (0, 0)
    assert contents(machine.directory) == contents(machine.source)
    assert not (machine.directory / READY_FILE).exists()
    assert machine.run("verify", machine.wanted)[0] == 0
    assert (machine.directory / READY_FILE).exists()
    shard = machine.directory / SECOND
    shard.chmod(0o644)
    flip(shard, -1)
    code, mended = machine.run("repair", machine.wanted)
    assert (code, mended["repaired"]) == (0, [SECOND])
    assert contents(machine.directory) == contents(machine.source)


def test_what_the_hubs_own_client_fetched_is_proved_as_it_lies(machine: Machine) -> None:
    snapshot_download(
        REPO, revision=machine.hub.commit, endpoint=machine.hub.url, local_dir=machine.directory, token=False
    )
    notes = machine.directory / ".cache" / "huggingface"
    assert notes.is_dir()
    assert machine.run("verify", machine.wanted)[0] == 0
    assert notes.is_dir()
    flip(machine.directory / SECOND, -1)
    code, said = machine.run("verify", machine.wanted)
    assert (code, said["error"]) == (3, "Corrupt")
    assert SECOND in said["message"]


@pytest.mark.parametrize(
    ("wanted", "options", "said"),
    [
        ("miniature", (), "REPO@COMMIT"),
        (f"{REPO}@main", (), "Pin a commit id"),
        (f"{REPO}@{'0' * 40}", ("--revision", "x"), "leave them out"),
    ],
)
def test_what_names_no_weights_is_refused(machine: Machine, wanted: str, options: tuple[str, ...], said: str) -> None:
    code, refused = machine.run("verify", wanted, *options)
    assert (code, refused["error"]) == (2, "Misconfigured")
    assert said in refused["remedy"]
    assert not machine.directory.exists()


def test_one_writer_a_directory(machine: Machine) -> None:
    machine.directory.mkdir(parents=True)
    held = os.open(machine.directory, os.O_RDONLY)
    assert try_lock(held)
    assert machine.run("sync", machine.wanted)[1]["error"] == "Busy"
    os.close(held)
    assert machine.run("sync", machine.wanted)[0] == 0
