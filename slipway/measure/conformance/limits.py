"""What a server must survive: prompts that are too long, clients that leave."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from threading import Barrier, BrokenBarrierError

import httpx

from slipway.measure.conformance.answer import excerpt, message_of
from slipway.measure.conformance.probe import Broken, Ended, NoAnswer, Theme, Unanswered
from slipway.measure.conformance.prompts import Json, copying
from slipway.measure.conformance.session import Session

THEME = Theme("limits")

LEFT_STREAMS = 64
"""More than a server runs at once (48 by default under speculation), so that slots not freed are missed; where the
number of slots is known, so many streams take them all."""

LEAVE_AFTER_S = 2.0
"""How long streams may take to begin before they are left."""

FREED_WITHIN_S = 5.0
"""What an answer may take longer than before, after the streams were left."""

LEFT_TOKENS = 16_384
"""What a stream that is left asks for: minutes of decoding, at least seconds."""


@THEME.check("context", needs=["context_length"], when="alone")
def context(session: Session) -> str:
    """A prompt longer than the context is refused with 400 and a reason, and the server lives on (SGLang)."""
    tokens = session.expects.context_length or 0
    request = copying(session.expects, "a b " * tokens)
    for stream in (False, True):
        reply = session.post({**request, "stream": stream})
        if reply.status != httpx.codes.BAD_REQUEST:
            raise Broken(f"a prompt of over {2 * tokens} tokens gives HTTP {reply.status}, expected 400 ({tokens=})")
        if not message_of(reply.body):
            raise Broken(f"a prompt beyond the context is refused without a message: {excerpt(str(reply.body))}")
    session.chat_anew(copying(session.expects))
    return f"a prompt beyond {tokens} tokens is refused, and the next request is answered"


@THEME.check("cancellation", when="alone")
def cancellation(session: Session) -> str:
    """Streams that clients leave free their slots: the next request is answered as fast as before (SGLang: abort)."""
    before_s = _answered_in_s(session)
    streams = session.expects.slots or LEFT_STREAMS
    begun = _leave_streams(session, streams)
    if not begun:
        raise Unanswered(f"none of {streams} streams began within {LEAVE_AFTER_S:.0f} s")
    deadline_s = time.monotonic() + before_s + FREED_WITHIN_S
    try:
        after_s = _answered_in_s(replace(session, deadline_s=min(deadline_s, session.deadline_s)))
    except NoAnswer:
        raise Broken(
            f"after {streams} streams were left ({begun} had begun), a request that took {before_s:.1f} s "
            f"is not answered within {before_s + FREED_WITHIN_S:.1f} s"
        ) from None
    return f"{streams} streams were left ({begun} had begun); then a request took {after_s:.1f} s"


def _answered_in_s(session: Session) -> float:
    begun_s = time.monotonic()
    session.chat_anew(copying(session.expects))
    return time.monotonic() - begun_s


def _leave_streams(session: Session, streams: int) -> int:
    """Open streams, leave them, and say how many had begun."""
    # A quarter of the context: of the whole of it so many streams might have to wait for each other.
    room = (session.expects.context_length or 4 * LEFT_TOKENS) // 4
    request = copying(session.expects) | {"max_tokens": min(LEFT_TOKENS, room)}
    ends_s = min(time.monotonic() + LEAVE_AFTER_S, session.deadline_s)
    # `ignore_eos` is SGLang's; a server that refuses it gets the plain request, which ends by itself.
    requests = [request | {"ignore_eos": True}, request]
    all_begun, asker = Barrier(streams), replace(session, deadline_s=ends_s)
    with ThreadPoolExecutor(streams) as pool:
        return sum(pool.map(lambda _: _leave_stream(asker, requests, all_begun), range(streams)))


def _leave_stream(session: Session, requests: Sequence[Json], all_begun: Barrier) -> bool:
    """Whether a stream of the first request that the server takes had begun when it was left, at the latest in time."""
    for request in requests:
        try:
            with session.stream(request) as pieces:
                begun = any(islice(pieces, 1))
                with contextlib.suppress(BrokenBarrierError):
                    all_begun.wait(session.left_s)
                return begun
        except NoAnswer:
            return False
        except Ended:
            continue
    return False
