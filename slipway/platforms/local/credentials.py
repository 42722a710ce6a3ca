"""Secret values by name: from the environment, or made once and kept where only their owner can read them."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from slipway.errors import Misconfigured
from slipway.platforms.naming import checked_name

MADE_HERE: Final = "_API_KEY"
"""Keys of servers that run on this platform; any random value serves. Others are given by somebody else."""


def secret_value(directory: Path, name: str) -> str:
    """The value of a secret.

    Raises:
        Misconfigured: When the environment does not have it and no value can be made up for it.
    """
    if value := os.environ.get(checked_name("secret", name)):
        return value
    if not name.endswith(MADE_HERE):
        raise Misconfigured(f"The secret {name} is not set.", remedy=f"Run again with {name}=… in the environment.")
    file = directory / name
    if not file.exists():
        _make(file)
    return file.read_text().strip()


def is_known(directory: Path, name: str) -> str:
    """Where the value comes from, in words; empty if there will be none. Nothing is made by asking."""
    if os.environ.get(name):
        return "is in the environment"
    if not name.endswith(MADE_HERE):
        return ""
    return "was made here" if (directory / name).exists() else "is made by the first run"


def _make(file: Path) -> None:
    """Make a random value; of two processes doing so at once, the first wins."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.parent.chmod(0o700)
    handle, temporary = tempfile.mkstemp(dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w") as made:
            made.write(secrets.token_urlsafe(32))
        file.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        Path(temporary).unlink()
