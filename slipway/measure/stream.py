"""One stream of a chat completion, read from its bytes after the run: events, text, token counts, and what is wrong.

Tolerant of what OpenAI-compatible servers differ in (SGLang, vLLM, OpenAI: comments, `event:` lines, CRLF,
`usage: null`, `reasoning` or `reasoning_content`, indices left out), strict about what breaks a figure: no `[DONE]`,
no finish reason, an error in place of text, JSON that is none, several answers in one stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

EMPTY_ANSWER = "empty answer"
"""Complaint of a stream that ended well without a word: no figure can be made of it."""

_BEGINNING = 200
"""So much of an answer that is no stream is quoted."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _CallPart(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # vLLM's name for it, since 0.11
    tool_calls: list[_CallPart] | None = None


class _Drafts(msgspec.Struct, gc=False):
    """SGLang's counts of speculative decoding, by request."""

    spec_num_correct_drafts: Count | None = None
    spec_verify_ct: Count | None = None


class _MetaInfo(_Drafts, gc=False):
    cached_tokens: Count | None = None
    queue_time: float | None = None
    weight_version: str | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    meta_info: _MetaInfo | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Extension(msgspec.Struct, gc=False):
    """SGLang's `sglext`; a list where several answers were asked for."""

    spec_tokens_details: _Drafts | list[_Drafts] | None = None


class _Metadata(msgspec.Struct, gc=False):
    weight_version: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    """One event of a stream, or the error that takes its place: SGLang's at the top, others' under `error`."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    object: str | None = None
    message: str | None = None
    error: Any = None
    metadata: _Metadata | None = None
    sglext: _Extension | None = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode


class _Broken(Exception):
    """The stream cannot be read any further."""


@dataclass(slots=True)
class Answer:
    """What a stream said. Times are on the clock of the reads; lists hold one entry an event.

    Attributes:
        event_s: Arrival of the last byte of each event that carries text or part of a tool call.
        event_tokens: Output tokens so far by the server's count at each event, 0 where it gave none.
        answer_s: Arrival of the first event that is more than reasoning.
        reasoning: Pieces of the reasoning.
        content: Pieces of the answer.
        calls: Tool calls by index: name and arguments, as text.
        finish_reason: The server's, empty if it gave none.
        prompt_tokens: By usage, 0 without.
        completion_tokens: By usage, 0 without.
        cached_tokens: Prompt tokens from the prefix cache; None where the server does not say.
        release_id: The weight version that the server names, empty if it names none.
        accepted_drafts: Drafts accepted; None where the server does not say.
        verify_steps: Verify steps; None where the server does not say.
        queue_s: Time in the server's queue; None where it does not say.
        complaint: Why it does not count as an answer, empty if it does.
    """

    event_s: list[float] = field(default_factory=list)
    event_tokens: list[int] = field(default_factory=list)
    answer_s: float | None = None
    reasoning: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    release_id: str = ""
    accepted_drafts: int | None = None
    verify_steps: int | None = None
    queue_s: float | None = None
    complaint: str = ""


def read_stream(reads: Sequence[tuple[float, bytes]]) -> Answer:
    """Read a whole stream. Whatever is wrong with it ends in `Answer.complaint`; what came before that is kept.

    Args:
        reads: Arrival time and body bytes of each read.
    """
    answer, done = Answer(), False
    try:
        for at_s, payload in _payloads(reads):
            if payload == b"[DONE]":
                done = True
                break
            _take(answer, at_s, payload)
    except _Broken as broken:
        answer.complaint = str(broken)
    else:
        answer.complaint = _complaint(answer, reads, done=done)
    return answer


def _payloads(reads: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Payloads of server-sent events, each with the arrival time of the read that ends its line."""
    found: list[tuple[float, bytes]] = []
    at_s, rest = 0.0, b""
    for at_s, data in reads:
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            # Comments, `event:` lines and empty lines are legal between events.
            if line[:5] == b"data:" and (payload := line[5:].strip()):
                found.append((at_s, payload))
    if rest[:5] == b"data:" and (payload := rest[5:].strip()):
        found.append((at_s, payload))
    return found


def _chunk(payload: bytes) -> _Chunk:
    """The chunk of a chat completion in a payload.

    Raises:
        _Broken: If it is none, or an error.
    """
    try:
        chunk = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Broken(f"malformed stream: {error}") from None
    if chunk.error is not None or chunk.object == "error":
        raise _Broken(f"error in the stream: {_said(chunk)}")
    if chunk.choices is None:
        raise _Broken("malformed stream: an event with neither choices nor an error")
    return chunk


def _take(answer: Answer, at_s: float, payload: bytes) -> None:
    """Add one event.

    Raises:
        _Broken: If it is no chunk of a chat completion, or an error.
    """
    chunk = _chunk(payload)
    if (usage := chunk.usage) is not None:
        _take_usage(answer, usage)
    for choice in chunk.choices or ():
        if choice.index:
            raise _Broken("the stream holds several answers (n > 1): measure with n = 1")
        if choice.delta is not None and _take_delta(answer, at_s, choice.delta):
            answer.event_s.append(at_s)
            answer.event_tokens.append((usage.completion_tokens or 0) if usage is not None else 0)
        if choice.finish_reason:
            answer.finish_reason = choice.finish_reason
        if choice.meta_info is not None:
            _take_meta_info(answer, choice.meta_info)
    if chunk.sglext is not None or chunk.metadata is not None:
        _take_extensions(answer, chunk)


def _take_delta(answer: Answer, at_s: float, delta: _Delta) -> bool:
    """Add the text of a delta; whether it has any."""
    reasoning = delta.reasoning_content or delta.reasoning
    if reasoning:
        answer.reasoning.append(reasoning)
    if not delta.content and not delta.tool_calls:
        return bool(reasoning)
    if answer.answer_s is None:
        answer.answer_s = at_s
    if delta.content:
        answer.content.append(delta.content)
    for part in delta.tool_calls or ():
        _take_call(answer.calls, part)
    return True


def _take_call(calls: dict[int, dict[str, str]], part: _CallPart) -> None:
    """Add a piece of a tool call; without an index, an id opens a new call and anything else continues the last."""
    index = part.index
    if index is None:
        index = len(calls) if part.id else max(len(calls) - 1, 0)
    call = calls.setdefault(index, {"name": "", "arguments": ""})
    if part.function is not None:
        call["name"] += part.function.name or ""
        call["arguments"] += part.function.arguments or ""


def _take_usage(answer: Answer, usage: _Usage) -> None:
    """Add token counts, which may only grow.

    Raises:
        _Broken: If they shrink: no figure can be made of them.
    """
    completion_tokens = usage.completion_tokens or 0
    if completion_tokens < answer.completion_tokens:
        raise _Broken(f"token counts shrink in the stream, from {answer.completion_tokens} to {completion_tokens}")
    answer.completion_tokens = completion_tokens
    answer.prompt_tokens = usage.prompt_tokens or answer.prompt_tokens
    if usage.prompt_tokens_details is not None and usage.prompt_tokens_details.cached_tokens is not None:
        answer.cached_tokens = usage.prompt_tokens_details.cached_tokens


def _take_extensions(answer: Answer, chunk: _Chunk) -> None:
    """Add what servers say outside of OpenAI's format."""
    if chunk.sglext is not None and isinstance(chunk.sglext.spec_tokens_details, _Drafts):
        _take_drafts(answer, chunk.sglext.spec_tokens_details)
    if chunk.metadata is not None:
        answer.release_id = chunk.metadata.weight_version or answer.release_id


def _take_meta_info(answer: Answer, info: _MetaInfo) -> None:
    _take_drafts(answer, info)
    if info.cached_tokens is not None:
        answer.cached_tokens = info.cached_tokens
    if info.queue_time is not None:
        answer.queue_s = info.queue_time
    answer.release_id = info.weight_version or answer.release_id


def _take_drafts(answer: Answer, drafts: _Drafts) -> None:
    if drafts.spec_num_correct_drafts is not None and drafts.spec_verify_ct is not None:
        answer.accepted_drafts, answer.verify_steps = drafts.spec_num_correct_drafts, drafts.spec_verify_ct


def _said(chunk: _Chunk) -> str:
    if isinstance(chunk.error, dict):
        return str(chunk.error.get("message") or chunk.error)
    return chunk.message or str(chunk.error)


def _complaint(answer: Answer, reads: Sequence[tuple[float, bytes]], *, done: bool) -> str:
    if not done:
        whole = b"".join([chunk for _, chunk in reads]).lstrip()
        begun = whole.startswith((b"data:", b":", b"event:", b"id:", b"retry:"))
        quoted = "" if begun or not whole else f"; it begins {whole[:_BEGINNING].decode('utf-8', 'replace')!r}"
        return f"the stream ended without [DONE]{quoted}"
    if not answer.finish_reason:
        return "no finish_reason"
    return "" if answer.event_s else EMPTY_ANSWER
