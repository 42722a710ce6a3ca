"""Which Slipway made a record: its version, and the commit of the checkout that it ran from."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]
GIT: Final = ("git", "--no-optional-locks")
TIMEOUT_S: Final = 5.0


def slipway_version(checkout: Path = CHECKOUT) -> str:
    """This Slipway: `0.1.0`; from a checkout `0.1.0+4f8c0de2ab11`, with `.dirty` where tracked files differ from it.

    Args:
        checkout: Where the code lies; an installed package is no checkout, and one without git is as good as none.
    """
    version = metadata.version("slipway")
    if not (checkout / ".git").exists():
        return version
    describe = ("describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=.dirty")
    try:
        found = subprocess.run(
            [*GIT, "-C", checkout, *describe], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{found.stdout.strip()}"
