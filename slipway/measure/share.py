"""What one process sends in a run, from the rendered requests to the exchanges."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

from slipway.endpoint import Endpoint
from slipway.errors import Misconfigured
from slipway.garbage import uncollected
from slipway.measure import readout
from slipway.measure.exchange import Exchange
from slipway.measure.load import ClosedLoop, OpenLoop
from slipway.measure.loop import Plan, run
from slipway.measure.quality import Quality
from slipway.measure.target import BadAddress, resolve

SPARE_DESCRIPTORS = 64


@dataclass(frozen=True, slots=True)
class Share:
    """Requests of one process.

    Attributes:
        endpoint: Where to send them.
        request_ids: Their ids.
        bodies: Their JSON bodies.
        load: When to send them.
        timeout_s: Deadline of each.
    """

    endpoint: Endpoint
    request_ids: tuple[str, ...]
    bodies: tuple[bytes, ...]
    load: ClosedLoop | OpenLoop
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Observed:
    """What one run gave.

    Attributes:
        exchanges: One a request, in the order of the requests.
        quality: The client's report on itself.
    """

    exchanges: tuple[Exchange, ...]
    quality: Quality


def observe(
    share: Share, *, on_done: Callable[[int], None] = lambda _: None, on_ready: Callable[[], None] = lambda: None
) -> Observed:
    """Send a share of the requests in this thread and keep what comes.

    Args:
        share: What to send.
        on_done: Called with the number of finished requests.
        on_ready: Called when the first connections are open, just before the schedule begins.

    Raises:
        Misconfigured: If the process may not open enough files, or the CA file cannot be used.
    """
    _check_descriptors(share.load)
    began = readout.Effort.now()
    try:
        target = resolve(share.endpoint, keep_alive=share.load.keep_alive)
    except (BadAddress, OSError) as failure:
        on_ready()
        return _unsent(share, f"ConnectError: {failure}", on_done)
    requests = [target.request(body) for body in share.bodies]
    with uncollected():  # a collection would stop the loop while it visits all that has been received
        record = run(Plan(target, requests, share.load, share.timeout_s), on_done=on_done, on_ready=on_ready)
        return Observed(*readout.read(record, share.request_ids, began))


def _unsent(share: Share, error: str, on_done: Callable[[int], None]) -> Observed:
    """All requests failed before the first was sent."""
    now_s = time.perf_counter()
    failed = tuple(Exchange(name, now_s, now_s, 0.0, now_s, 0, (), error) for name in share.request_ids)
    for number in range(len(failed)):
        on_done(number + 1)
    return Observed(failed, readout.NOTHING)


def _check_descriptors(load: ClosedLoop | OpenLoop) -> None:
    """An open loop's streams cannot be foreseen; what it cannot open is recorded."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if isinstance(load, ClosedLoop) and load.concurrency + SPARE_DESCRIPTORS > allowed:
        raise Misconfigured(
            f"{load.concurrency} streams need more open files than the {allowed} that this process is allowed.",
            remedy=f"Raise the limit (`ulimit -n {load.concurrency + SPARE_DESCRIPTORS}`), or use fewer streams.",
        )
