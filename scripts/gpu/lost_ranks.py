"""How servers end that have lost a rank of their engine: one that is killed, one that stands still.

A rank is a process of its own. SGLang notices when one dies; one that stands still it does not notice while no forward
pass is under way, and it counts no request then.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from slipway.engine.readiness import Target, inference_problem
from slipway.errors import Misconfigured
from slipway.platforms.port import Deployment, Phase
from slipway.profile import Profile
from slipway.stages.candidate import deploy_candidate
from slipway.stages.kernels import precompile_kernels
from slipway.stages.planning import plan_run
from slipway.stages.run import Run, open_run

RANK_TITLE: Final = "sglang::scheduler"
"""How SGLang names the process of a rank."""

HANGS_AFTER_S: Final = 30.0
"""No forward pass of this model takes as long once its kernels are there."""

_HANG_PROOF_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.1


def killed(run: Run, candidate: Deployment) -> dict[str, Any]:
    """SIGKILL to the last of a candidate's ranks: seconds until its server has ended, and the cause it tells."""
    return _ended_by(signal.SIGKILL, run, candidate)


def stopped(profile: Profile) -> dict[str, Any]:
    """The end of a second server, one of whose ranks stands still; one that waits for less than the first."""
    engine = profile.engine.model_copy(update={"watchdog_timeout_s": HANGS_AFTER_S})
    with open_run(profile.model_copy(update={"engine": engine})) as run:
        plan_run(run)
        precompile_kernels(run)
        candidate = deploy_candidate(run)
        try:
            return _ended_by(signal.SIGSTOP, run, candidate)
        finally:
            run.platform.stop(candidate)


def _ended_by(number: signal.Signals, run: Run, candidate: Deployment) -> dict[str, Any]:
    """A signal to the last of the candidate's ranks under a request: how its server ends, and what it tells."""
    target = Target(urlsplit(candidate.url).port or 0, run.endpoint(candidate).api_key)
    rank = ranks(target.port)[-1]
    title = rank.cmdline()[0]
    rank.send_signal(number)
    began_s = time.monotonic()
    deadline_s = began_s + run.profile.engine.watchdog_timeout_s + _HANG_PROOF_S
    threading.Thread(target=inference_problem, args=(target, deadline_s), daemon=True).start()
    while (status := run.platform.status(candidate)).phase is Phase.READY and time.monotonic() < deadline_s:
        time.sleep(_LOOK_EVERY_S)
    seconds = time.monotonic() - began_s
    return {"rank": title, "seconds": seconds, "phase": status.phase.value, "detail": status.detail}


def ranks(port: int) -> list[psutil.Process]:
    """The ranks of the engine that listens on a port, by title.

    Raises:
        Misconfigured: If nothing with ranks listens there.
    """
    listening = {each.pid for each in psutil.net_connections("tcp") if each.laddr and each.laddr[1] == port}
    below = (child for pid in listening if pid for child in psutil.Process(pid).children(recursive=True))
    found = {child.cmdline()[0]: child for child in below if "".join(child.cmdline()[:1]).startswith(RANK_TITLE)}
    if not found:
        raise Misconfigured(f"No {RANK_TITLE} listens on port {port}.", remedy="Read the server's log: did it end?")
    return [found[title] for title in sorted(found)]
