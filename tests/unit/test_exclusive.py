"""One run at a time: the second waits or is refused, in time, and a dead holder holds nothing."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from slipway.errors import Busy
from slipway.platforms.local import LocalPlatform
from slipway.profile.conduct import Exclusive
from slipway.records.events import StageEvent, observed_by
from slipway.stages import exclusive
from slipway.stages.exclusive import holding

STARTS = 20
BODY = """
import os, sys, time
from pathlib import Path
from slipway.errors import Busy
from slipway.platforms.local import LocalPlatform
from slipway.profile.conduct import Exclusive
from slipway.stages import exclusive
root, on_busy, dies = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "dies"
exclusive.POLL_S = 0.02
try:
    with exclusive.holding(LocalPlatform(root), "app", Exclusive(on_busy=on_busy, wait_at_most_s=120)):
        inside = os.open(root / "inside", os.O_CREAT | os.O_EXCL)  # raises if another one is inside
        with (root / "entered").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        (root / "inside").unlink()
        if dies:
            os.kill(os.getpid(), 9)
except Busy as busy:
    print(busy)
    sys.exit(2)
"""


def start(root: Path, on_busy: str, *, dies: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BODY, str(root), on_busy, "dies" if dies else "lives"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_of_twenty_starts_never_two_are_inside(tmp_path: Path) -> None:
    """Every third is killed while it holds the app: the next one gets in."""
    with ExitStack() as stack:
        runs = [stack.enter_context(start(tmp_path, "wait", dies=n % 3 == 0)) for n in range(STARTS)]
        ends = [run.wait(240) for run in runs]
        said = [run.stderr.read() for run in runs if run.stderr]
    assert ends == [-9 if n % 3 == 0 else 0 for n in range(STARTS)], said
    assert len(set((tmp_path / "entered").read_text().split())) == STARTS


def test_a_second_run_is_refused_and_told_who_holds_the_app(tmp_path: Path) -> None:
    with LocalPlatform(tmp_path).exclusive("app"), start(tmp_path, "refuse") as second:
        assert second.wait(60) == 2
        assert second.stdout
        assert "app is being released by another run (process" in second.stdout.read()


def test_waiting_has_a_deadline_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive, "POLL_S", 0.01)
    seen: list[StageEvent] = []
    platform, spec = LocalPlatform(tmp_path), Exclusive(on_busy="wait", wait_at_most_s=0.05)
    with (
        platform.exclusive("app"),
        observed_by(seen.append),
        pytest.raises(Busy, match="wait_at_most_s"),
        holding(platform, "app", spec),
    ):
        pytest.fail("another run holds the app")
    assert [(event.stage, event.kind) for event in seen] == [
        ("wait for the app", "started"),
        ("wait for the app", "failed"),
    ]


def test_an_error_inside_is_not_taken_for_a_refusal(tmp_path: Path) -> None:
    platform = LocalPlatform(tmp_path)
    with pytest.raises(Busy, match="of its own"), holding(platform, "app", Exclusive(on_busy="wait")):
        raise Busy("Busy of its own.", remedy="")
    with platform.exclusive("app"):
        pass
