"""Measure one endpoint: send a workload or a trace, keep samples, counters, and the client's report on itself.

From Python:

    endpoint = resolved(Endpoint(base_url("http://127.0.0.1:30000"), model=""))
    chat = Workload(prompts="chat@1", requests=200, concurrency=8, max_tokens=256)
    print(report(measure_endpoint(endpoint, "chat", chat)))
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from slipway.endpoint import Endpoint
from slipway.engine.client import metrics_text
from slipway.errors import Crashed, Misconfigured
from slipway.measure import trace
from slipway.measure.client import drive
from slipway.measure.counters import Counters, delta, from_metrics
from slipway.measure.density import Density, density
from slipway.measure.load import ClosedLoop, OpenLoop
from slipway.measure.prompts.prompt import Prompt, generator
from slipway.measure.prompts.stock import prose
from slipway.measure.quality import Quality
from slipway.measure.samples import Sample, parse, parse_all
from slipway.measure.workload import ChatRequest, build, chat_request, digest, load_of
from slipway.profile import Workload

Tell = Callable[[int], None]

SETTLE_S: Final = 2.0
"""So long a server may take to count the requests that it has just finished."""

PROBES_CHARACTERS: Final = (400, 4_000)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run gave.

    Attributes:
        endpoint: What was measured.
        name: Name of the workload.
        workload: What was sent; of a trace, how.
        load: When it was sent.
        digest: SHA-256 of the requests without their salt: runs with the same one have asked the same.
        samples: One a request, in the order of the requests.
        quality: The client's report on itself.
        counters: What the server counted over the run; None where it was started anew.
    """

    endpoint: Endpoint
    name: str
    workload: Workload
    load: ClosedLoop | OpenLoop
    digest: str
    samples: tuple[Sample, ...]
    quality: Quality
    counters: Counters | None


def measure_endpoint(
    endpoint: Endpoint,
    name: str,
    workload: Workload,
    *,
    keep_alive: bool = True,
    timeout_s: float = 600.0,
    on_done: Tell = lambda _: None,
) -> Measured:
    """Send a workload once.

    Args:
        endpoint: What to measure; its model must be known (`resolved`).
        name: Name of the workload, which request ids begin with.
        workload: What to send, and when.
        keep_alive: Whether a connection serves one request after another.
        timeout_s: Deadline of each request.
        on_done: Called with the number of finished requests.

    Raises:
        Misconfigured: If the workload's file cannot be read, or every request is refused.
        Crashed: If not a single request is served.
    """
    requests = build(name, workload, salt=secrets.token_hex(8))
    load = dataclasses.replace(load_of(workload, len(requests)), keep_alive=keep_alive)
    taken = _take(endpoint, name, requests, load, timeout_s=timeout_s, on_done=on_done)
    return Measured(endpoint, name, workload, load, digest(name, workload), *taken)


def measure_trace(
    endpoint: Endpoint,
    path: Path,
    sampling: Workload,
    *,
    keep_alive: bool = True,
    timeout_s: float = 600.0,
    on_done: Tell = lambda _: None,
) -> Measured:
    """Replay a trace once; arguments and errors as for `measure_endpoint`.

    Args:
        endpoint: What to measure; its model must be known (`resolved`).
        path: The trace (`slipway.measure.trace`).
        sampling: Whose temperature, reasoning, seed and longest answer hold for all requests.
        keep_alive: Whether a connection serves one request after another.
        timeout_s: Deadline of each request.
        on_done: Called with the number of finished requests.

    Raises:
        Misconfigured: If the trace cannot be read, or every request is refused.
        Crashed: If not a single request is served.
    """
    lines = trace.read_trace(path)
    found = _density(endpoint, sampling, timeout_s) if trace.has_lengths(lines) else Density()
    replay = trace.replay(lines, sampling, found, salt=secrets.token_hex(8))
    load = dataclasses.replace(replay.load, keep_alive=keep_alive)
    asked = hashlib.sha256(orjson.dumps([line.model_dump() for line in lines], option=orjson.OPT_SORT_KEYS)).hexdigest()
    taken = _take(endpoint, trace.NAME, replay.requests, load, timeout_s=timeout_s, on_done=on_done)
    return Measured(endpoint, trace.NAME, sampling, load, asked, *taken)


def _take(
    endpoint: Endpoint,
    name: str,
    requests: Sequence[ChatRequest],
    load: ClosedLoop | OpenLoop,
    *,
    timeout_s: float,
    on_done: Tell,
) -> tuple[tuple[Sample, ...], Quality, Counters | None]:
    before = from_metrics(metrics_text(endpoint))
    observed = drive(endpoint, requests, load, timeout_s=timeout_s, on_done=on_done)
    samples = tuple(parse_all(name, observed.exchanges))
    served = sum(not sample.error for sample in samples)
    if not served:
        raise _nothing_served(endpoint, samples)
    return samples, observed.quality, counted(endpoint, before, served)


def counted(endpoint: Endpoint, before: Counters, served: int) -> Counters | None:
    """What the server has counted since a first reading, once that is all that was served, or a moment later.

    Args:
        endpoint: The server.
        before: The first reading.
        served: Requests served since.

    Returns:
        The differences; None if the server was started anew.
    """
    deadline_s = time.monotonic() + SETTLE_S
    while True:
        counted = delta(before, from_metrics(metrics_text(endpoint)))
        if counted is None or counted.requests is None or counted.requests >= served or time.monotonic() > deadline_s:
            return counted
        time.sleep(SETTLE_S / 10)


def _nothing_served(endpoint: Endpoint, samples: Sequence[Sample]) -> Misconfigured | Crashed:
    error = samples[0].error
    refused = error.startswith("HTTP 4") and not error.startswith("HTTP 429")
    kind = Misconfigured if refused else Crashed
    return kind(
        f"{endpoint.url} served none of {len(samples)} requests. The first: {error}.",
        remedy="Check the model's name, the API key and the workload's lengths."
        if refused
        else "Read the server's log.",
    )


def _density(endpoint: Endpoint, sampling: Workload, timeout_s: float) -> Density:
    """The density of prose on this server, from two short requests before the clock starts."""
    texts = [prose(generator("probe", sampling.seed, characters), characters) for characters in PROBES_CHARACTERS]
    probes = [
        chat_request(f"probe-{len(text)}", Prompt(({"role": "user", "content": text},), max_tokens=1), sampling)
        for text in texts
    ]
    exchanges = drive(endpoint, probes, ClosedLoop(1), timeout_s=timeout_s).exchanges
    few, many = (parse("probe", exchange).prompt_tokens for exchange in exchanges)
    return density((len(texts[0]), few), (len(texts[1]), many))
