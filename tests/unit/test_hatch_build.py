"""Installing Slipway compiles the measuring client's receiver where a C compiler is, and goes on where none is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hatchling.bridge.app import Application

from hatch_build import LIBRARY, SOURCE, ReceiverHook, compile_library
from slipway.measure import compiled

HERE = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / SOURCE.parent).mkdir(parents=True)
    shutil.copy(HERE / SOURCE, tmp_path / SOURCE)
    return tmp_path


def built(checkout: Path) -> dict[str, Any]:
    """What the wheel is told to be."""
    hook = ReceiverHook(str(checkout), {}, None, None, str(checkout), "wheel", Application())  # type: ignore[arg-type]
    build_data: dict[str, Any] = {"pure_python": True, "artifacts": []}
    hook.initialize("standard", build_data)
    return build_data


def test_the_library_goes_into_a_wheel_for_this_platform(checkout: Path) -> None:
    told = built(checkout)
    assert told["artifacts"] == [LIBRARY.as_posix()]
    assert told["pure_python"] is False
    assert told["tag"].startswith("py3-none-linux_")
    # In a process of its own: a library that is loaded stays loaded.
    asked = f"from slipway.measure import compiled; print(compiled.load(compiled.Path({str(checkout / LIBRARY)!r})))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert "CDLL" in done.stdout


@pytest.mark.parametrize(
    ("compiler", "said"), [("no-such-compiler", "there is no C compiler 'no-such-compiler'"), ("false", "")]
)
def test_without_a_compiler_the_wheel_is_for_all(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], compiler: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    (checkout / LIBRARY).write_bytes(b"of an earlier source")
    assert built(checkout) == {"pure_python": True, "artifacts": []}
    told = capsys.readouterr()
    assert "The measuring client will read in Python" in told.out + told.err
    assert said in told.out + told.err
    assert list((checkout / SOURCE.parent).iterdir()) == [checkout / SOURCE]


def test_a_source_that_does_not_compile_leaves_the_library_alone(checkout: Path) -> None:
    (checkout / LIBRARY).write_bytes(b"in use")
    (checkout / SOURCE).write_text("int receive(")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        compile_library(checkout / SOURCE, checkout / LIBRARY)
    assert "error" in refused.value.stderr
    assert (checkout / LIBRARY).read_bytes() == b"in use"
    assert set((checkout / SOURCE.parent).iterdir()) == {checkout / SOURCE, checkout / LIBRARY}


def test_what_was_installed_is_of_this_source() -> None:
    """`make setup` compiles again when the source changes; a stale library would be passed over without a word."""
    assert compiled.load(compiled.LIBRARY) is not None
