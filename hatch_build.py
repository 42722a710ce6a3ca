"""Compiles the measuring client's receiver while Slipway is installed; where that cannot be, it is installed without.

Called by hatchling. Without it the client waits and reads in Python: the same figures, for half as much processor time
again.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("slipway/measure/receive.c")
LIBRARY = SOURCE.with_suffix(".so")
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-shared", "-fPIC")
TIMEOUT_S = 120


class ReceiverHook(BuildHookInterface[Any]):
    """Puts the library beside its source and into the wheel, which then is one for this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Compile before anything is packed."""
        root = Path(self.root)
        try:
            compile_library(root / SOURCE, root / LIBRARY)
        except (OSError, subprocess.SubprocessError) as error:
            (root / LIBRARY).unlink(missing_ok=True)
            said = getattr(error, "stderr", None) or error
            self.app.display_warning(f"The measuring client will read in Python: {said}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data |= {"pure_python": False, "tag": f"py3-none-{platform}"}
        build_data["artifacts"].append(LIBRARY.as_posix())


def compile_library(source: Path, library: Path) -> None:
    """Compile with `$CC`, or the system's compiler.

    Raises:
        FileNotFoundError: If there is none.
        subprocess.SubprocessError: If it refuses, or takes too long.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise FileNotFoundError(f"there is no C compiler {compiler[0]!r} (Debian: apt-get install gcc libc6-dev)")
    part = library.with_suffix(f".{os.getpid()}")
    made_of = f'-DSOURCE_SHA256="{hashlib.sha256(source.read_bytes()).hexdigest()}"'
    command = [*compiler, *FLAGS, made_of, "-o", part, source]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
        part.rename(library)  # in one step: a process may be running the old one
    finally:
        part.unlink(missing_ok=True)
