"""Several measuring processes, where one would be the bottleneck."""

from __future__ import annotations

import multiprocessing
from bisect import bisect_right
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Final

from slipway.errors import Crashed, SlipwayError
from slipway.measure.load import ClosedLoop, OpenLoop
from slipway.measure.quality import merge_processes
from slipway.measure.share import Observed, Share, observe

STREAMS_A_PROCESS: Final = 512
TLS_STREAMS_A_PROCESS: Final = 256
CORES_A_PROCESS: Final = 2
TYPICAL_ANSWER_S: Final = 10.0
START_TIMEOUT_S: Final = 120.0
END_TIMEOUT_S: Final = 5.0

_CONTEXT: Final = multiprocessing.get_context("spawn")


def needed(streams: int, cpus: int, *, tls: bool) -> int:
    """How many processes a load takes.

    One process reads some 60,000 events a second on a core, in 8 to 15 us each: 512 streams with a step of 7.7 ms.
    Under TLS each read must be decrypted (2.5 us) and looked at by itself, so half as many is on the safe side. More
    processes than half of the cores make it worse, not better: they take turns with each other, and with a server on
    the same machine, and each turn is a wait of milliseconds (on two cores, a second process moved the mean TTFT error
    from 0.01 to 5.7 ms).

    Args:
        streams: Streams open at once.
        cpus: Cores that may be used.
        tls: Whether they are encrypted.
    """
    wanted = -(-streams // (TLS_STREAMS_A_PROCESS if tls else STREAMS_A_PROCESS))
    return max(1, min(wanted, cpus // CORES_A_PROCESS))


def streams(load: ClosedLoop | OpenLoop, count: int) -> int:
    """Streams that a load of `count` requests opens at once; in an open loop a guess, with answers of 10 s."""
    if isinstance(load, ClosedLoop):
        return min(load.concurrency, count)
    offsets_s = load.offsets_s
    return max(
        (bisect_right(offsets_s, offset_s + TYPICAL_ANSWER_S) - index for index, offset_s in enumerate(offsets_s)),
        default=0,
    )


def deal(share: Share, count: int) -> list[Share]:
    """The requests dealt round to `count` processes; an open loop's keep their times."""
    return [
        Share(
            share.endpoint,
            share.request_ids[number::count],
            share.bodies[number::count],
            _part(share.load, number, count),
            share.timeout_s,
        )
        for number in range(count)
    ]


def _part(load: ClosedLoop | OpenLoop, number: int, count: int) -> ClosedLoop | OpenLoop:
    if isinstance(load, OpenLoop):
        return OpenLoop(load.offsets_s[number::count], load.keep_alive)
    return ClosedLoop(load.concurrency // count + (number < load.concurrency % count), load.keep_alive)


def observe_in(count: int, share: Share, *, on_done: Callable[[int], None]) -> Observed:
    """Send requests from `count` new processes that start together.

    Raises:
        Crashed: If one of them dies.
        SlipwayError: What `observe` raised in one of them.
    """
    barrier = _CONTEXT.Barrier(count)
    pipes: list[Connection] = []
    processes: list[BaseProcess] = []
    try:
        for part in deal(share, count):
            ours, theirs = _CONTEXT.Pipe(duplex=False)
            pipes.append(ours)
            processes.append(_CONTEXT.Process(target=_work, args=(theirs, part, barrier), daemon=True))
            processes[-1].start()
            theirs.close()
        observed = _gather(pipes, on_done)
    finally:
        for process in processes:
            _end(process)
        for pipe in pipes:
            pipe.close()
    exchanges = [observed[index % count].exchanges[index // count] for index in range(len(share.request_ids))]
    return Observed(tuple(exchanges), merge_processes([each.quality for each in observed]))


def _work(pipe: Connection, share: Share, barrier: Barrier) -> None:
    """What each process does: numbers of finished requests go up the pipe, then what was observed."""
    result: Observed | SlipwayError
    try:
        result = observe(share, on_done=pipe.send, on_ready=lambda: _meet(barrier))
    except SlipwayError as error:
        result = error
    pipe.send(result)


def _meet(barrier: Barrier) -> None:
    barrier.wait(START_TIMEOUT_S)


def _gather(pipes: Sequence[Connection], on_done: Callable[[int], None]) -> list[Observed]:
    """What each process observed; progress is told on the way."""
    observed: dict[Connection, Observed] = {}
    done: dict[Connection, int] = {}
    while len(observed) < len(pipes):
        ready = wait([pipe for pipe in pipes if pipe not in observed])
        for pipe in (pipe for pipe in pipes if pipe in ready):
            message = _received(pipe)
            if isinstance(message, Observed):
                observed[pipe] = message
            else:
                done[pipe] = message
                on_done(sum(done.values()))
    return [observed[pipe] for pipe in pipes]


def _received(pipe: Connection) -> Observed | int:
    try:
        message: Observed | SlipwayError | int = pipe.recv()
    except (EOFError, OSError):
        raise Crashed(
            "A measuring process ended before its requests did.",
            remedy="Look for what ended it (memory, a signal), and measure again.",
        ) from None
    if isinstance(message, SlipwayError):
        raise message
    return message


def _end(process: BaseProcess) -> None:
    """See a process out; it closes its connections as it goes."""
    process.join(0 if process.is_alive() else END_TIMEOUT_S)
    if process.is_alive():
        process.terminate()
        process.join(END_TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join(END_TIMEOUT_S)
