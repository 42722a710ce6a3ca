"""Holding an app for one release, across machines: a lease in the Dict that its holder keeps fresh.

Each lease has a number, and taking the next number is one atomic act at Modal (`put(skip_if_exists=True)`), so of
many who want it exactly one gets it. A holder that was killed on this machine is known at once by its process; one
on another machine by the age of its last sign. Who was taken for dead finds the next number taken and must not
touch production any more.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from slipway.errors import Busy, SlipwayError
from slipway.platforms.modal import handles
from slipway.platforms.modal.errors import translated
from slipway.processes import ProcessIdentity, identify
from slipway.units import utc_now

SIGN_EVERY_S: Final = 15.0
DEAD_AFTER_S: Final = 180.0
"""Many missed signs, and more than clocks of machines that keep time differ by."""


class Lease:
    """The lease of one app, held from `taken` on."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._number = 0
        self._over = threading.Event()
        self._signer = threading.Thread(target=self._keep_fresh, daemon=True)
        self._lost = ""

    def require(self) -> None:
        """Make sure that it is still held.

        Raises:
            Busy: If another run took it over: this one was silent for too long, as when a machine sleeps.
        """
        with translated(f"looking at the lease of {self._app}"):
            after = handles.state().get(self._key(self._number + 1))
        if after is not None:
            self._lost = _told(after)
        if self._lost:
            raise Busy(
                f"{self._app} was taken over by {self._lost}: this run gave no sign for {DEAD_AFTER_S:.0f} s.",
                remedy="Leave it to the other run.",
            )

    def take(self) -> None:
        """Take the lease.

        Raises:
            Busy: When somebody who may live holds it.
        """
        with translated(f"taking the lease of {self._app}"):
            number, holder = self._newest()
            if holder is not None and _may_live(holder):
                raise self._busy(holder)
            if not handles.state().put(self._key(number + 1), _sign(), skip_if_exists=True):
                raise self._busy(handles.state().get(self._key(number + 1)) or {})
            self._number = number + 1
            handles.state().put(self._key(None), self._number)
            handles.state().pop(self._key(number), None)
        self._signer.start()

    def give_back(self) -> None:
        """Free the app; the number stays used."""
        self._over.set()
        self._signer.join(SIGN_EVERY_S)  # a sign that is under way must not come after the word that it is free
        with contextlib.suppress(SlipwayError), translated(f"giving back the lease of {self._app}"):
            handles.state().put(self._key(self._number), {"free": True})

    def _newest(self) -> tuple[int, dict[str, Any] | None]:
        """The highest number that was taken, and who has it; the hint may be behind, never ahead."""
        number = handles.state().get(self._key(None), 0)
        holder = handles.state().get(self._key(number))
        while (after := handles.state().get(self._key(number + 1))) is not None:
            number, holder = number + 1, after
        return number, holder

    def _keep_fresh(self) -> None:
        while not self._over.wait(SIGN_EVERY_S):
            with contextlib.suppress(Exception):  # whatever the client raises: the next sign may get through
                handles.state().put(self._key(self._number), _sign())

    def _key(self, number: int | None) -> str:
        return f"lease/{self._app}" if number is None else f"lease/{self._app}/{number}"

    def _busy(self, holder: dict[str, Any]) -> Busy:
        return Busy(
            f"{self._app} is being released by another run ({_told(holder)}).",
            remedy="Wait until it has ended, or end it.",
        )


@contextlib.contextmanager
def taken(app: str) -> Iterator[Lease]:
    """Hold an app as long as the block.

    Raises:
        Busy: When somebody who may live holds it.
    """
    lease = Lease(app)
    lease.take()
    try:
        yield lease
    finally:
        lease.give_back()


def _sign() -> dict[str, Any]:
    return {
        "machine": _machine(),
        "process": asdict(identify(os.getpid())),
        "host": socket.gethostname(),
        "at": utc_now().isoformat(timespec="seconds"),
        "at_s": time.time(),
    }


def _may_live(holder: dict[str, Any]) -> bool:
    if holder.get("free"):
        return False
    if holder["machine"] == _machine():
        return ProcessIdentity(**holder["process"]).alive()
    return bool(time.time() - holder["at_s"] < DEAD_AFTER_S)


def _told(holder: dict[str, Any]) -> str:
    if "process" not in holder:
        return "which has just ended"
    return f"process {holder['process']['pid']} on {holder['host']}, last sign {holder['at']}"


def _machine() -> str:
    """This machine, this boot of it, and this set of process numbers: where a pid means the same process."""
    kernel = Path("/proc/sys/kernel/random/boot_id")
    boot = kernel.read_text().strip() if kernel.exists() else hex(uuid.getnode())
    numbers = Path("/proc/self/ns/pid")
    return f"{boot} {numbers.readlink() if numbers.exists() else ''}"
