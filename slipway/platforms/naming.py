"""Names given from outside, before they become parts of paths."""

from __future__ import annotations

import re
import secrets
from pathlib import PurePosixPath
from typing import Final

from slipway.errors import Misconfigured
from slipway.units import utc_now

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def checked_name(kind: str, name: str) -> str:
    """The name itself, if it can be one part of a path.

    Raises:
        Misconfigured: Otherwise.
    """
    if not _NAME.fullmatch(name):
        raise Misconfigured(
            f"{name!r} cannot be the name of a {kind}.",
            remedy="Use letters, digits, dots, underscores and dashes, beginning with a letter or digit.",
        )
    return name


def checked_path(path: str) -> PurePosixPath:
    """A path inside a volume, normalised.

    Raises:
        Misconfigured: When it is absolute or leaves the volume.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path or "\\" in path:
        raise Misconfigured(
            f"{path!r} does not stay inside the volume.",
            remedy="Give a relative path with forward slashes and without '..'.",
        )
    return pure


def new_id(name: str) -> str:
    """An id that sorts by time and happens once: `20260102-030405-123456-<name>-9f3c`."""
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60]
    return f"{utc_now():%Y%m%d-%H%M%S-%f}-{label}-{secrets.token_hex(2)}"
