"""Who owns the directories that kernels are unpacked to: the last two stay, and any that somebody uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.errors import Busy
from slipway.kernels.roots import changing, tidy, use

HOLD = """
import sys
from pathlib import Path
from slipway.kernels.roots import changing, use
root = Path(sys.argv[1])
with changing(root.parent):
    used = use(root)
print("held", flush=True)
sys.stdin.read()
"""


def make(roots: Path, key: str, *, last_used_s: float) -> Path:
    """A directory that was given out at a time, and is not used any more."""
    with changing(roots), use(roots / key, alone=True):
        (roots / key / "triton").mkdir(parents=True)
        (roots / key / "triton" / "built.so").write_bytes(b"kernel")
    os.utime(roots / f".{key}.used", (last_used_s, last_used_s))
    return roots / key


def tidied(roots: Path) -> set[str]:
    with changing(roots):
        tidy(roots)
    return {path.name for path in roots.iterdir() if path.name != ".lock"}


def test_the_last_two_stay(tmp_path: Path) -> None:
    for number, key in enumerate("abcd"):
        make(tmp_path, key, last_used_s=1000.0 + number)
    assert tidied(tmp_path) == {"c", ".c.used", "d", ".d.used"}
    assert tidied(tmp_path) == {"c", ".c.used", "d", ".d.used"}


def test_what_dead_processes_left_goes_with_its_key(tmp_path: Path) -> None:
    for number, key in enumerate("abc"):
        make(tmp_path, key, last_used_s=1000.0 + number)
    (tmp_path / ".a.incoming" / "x").mkdir(parents=True)
    (tmp_path / ".a.tar.gz").write_bytes(b"half")
    (tmp_path / "of-no-known-use").mkdir()
    assert tidied(tmp_path) == {"b", ".b.used", "c", ".c.used"}


def test_a_running_servers_is_never_removed_and_a_killed_ones_is(tmp_path: Path) -> None:
    for number, key in enumerate("abc"):
        make(tmp_path, key, last_used_s=1000.0 + number)
    server = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"held\n"
        make(tmp_path, "d", last_used_s=2e9)
        os.utime(tmp_path / ".a.used", (1.0, 1.0))
        assert {"a", "c", "d"} <= tidied(tmp_path)
        with pytest.raises(Busy, match="uses the kernels of a"), changing(tmp_path):
            use(tmp_path / "a", alone=True)
        server.kill()
    assert not {"a", "b"} & tidied(tmp_path)


def test_servers_share_and_a_writer_is_alone(tmp_path: Path) -> None:
    with changing(tmp_path):
        first, second = use(tmp_path / "a"), use(tmp_path / "a")
        first.close()
        with pytest.raises(Busy):
            use(tmp_path / "a", alone=True)
        second.close()
        with use(tmp_path / "a", alone=True), pytest.raises(Busy):
            use(tmp_path / "a")
