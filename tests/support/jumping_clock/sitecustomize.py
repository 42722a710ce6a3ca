"""A wall clock that jumps by years, forth and back, in every process that is started with this directory on its path.

Each process notes its pid in the file that `JUMPING_CLOCK` names, so that a test knows whose clock jumped.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

_JUMP_S = 1e8
_jumps = itertools.count()
_now_s, _now_ns = time.time, time.time_ns


def _jump_s() -> float:
    return _JUMP_S if next(_jumps) % 2 else -_JUMP_S


time.time = lambda: _now_s() + _jump_s()
time.time_ns = lambda: _now_ns() + int(_jump_s() * 1e9)
with Path(os.environ["JUMPING_CLOCK"]).open("a") as file:
    file.write(f"{os.getpid()}\n")
