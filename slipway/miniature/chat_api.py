"""`/v1/chat/completions`: thoughts, answers and tool calls, streamed or whole."""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from jsonschema import Draft202012Validator, SchemaError
from starlette.requests import Request
from starlette.responses import Response

from slipway.miniature.generation import DEFAULT_TEMPERATURE, DEFAULT_TOP_P, Answer, Sampling, new_request_id
from slipway.miniature.parsers import CALL_START, ReasoningParser
from slipway.miniature.protocol import (
    ApiError,
    ChatRequest,
    JsonResponse,
    StreamOptions,
    Tool,
    ToolChoice,
    read_request,
)
from slipway.miniature.responses import DONE, Head, Json, collect, event_stream, sse, usage
from slipway.miniature.service import Service, service_of
from slipway.miniature.tool_calls import AnswerText, CallArguments, CallOpened, Piece, ToolCallParser


@dataclass(frozen=True, slots=True)
class Task:
    """A chat request made ready for the engine and the parsers.

    Attributes:
        request: What the client sent.
        prompt: Tokens to continue.
        sampling: How.
        tools: Functions on offer; empty when none may be called.
        split_thoughts: Whether thoughts are told apart from the answer.
        forced: Text the prompt already opens the answer with: a call the client demanded.
    """

    request: ChatRequest
    prompt: list[int]
    sampling: Sampling
    tools: tuple[Tool, ...]
    split_thoughts: bool
    forced: str

    def parser(self) -> AnswerParser:
        """A parser for one answer."""
        parser = AnswerParser(self)
        parser.feed(self.forced)
        return parser


class AnswerParser:
    """Tells thoughts, text and tool calls of one answer apart, as far as the request asks for it."""

    def __init__(self, task: Task) -> None:
        self._thoughts = ReasoningParser(thinking=task.sampling.thinking) if task.split_thoughts else None
        schemas = {tool.function.name: tool.function.parameters or {} for tool in task.tools}
        self._tools = ToolCallParser(schemas) if task.tools else None

    @property
    def calls(self) -> int:
        """Tool calls completed so far."""
        return self._tools.calls if self._tools else 0

    @property
    def unfinished(self) -> str:
        """Raw text of a tool call that was cut off."""
        return self._tools.unfinished if self._tools else ""

    def feed(self, text: str, *, last: bool = False) -> tuple[str, list[Piece]]:
        """Thoughts and pieces of the answer that `text` settles; all that is left when it is the last."""
        thoughts, rest = self._thoughts.feed(text) if self._thoughts else ("", text)
        if last and self._thoughts:
            more_thoughts, more_rest = self._thoughts.flush()
            thoughts, rest = thoughts + more_thoughts, rest + more_rest
        if self._tools is None:
            return thoughts, [AnswerText(rest)] if rest else []
        pieces = self._tools.feed(rest)
        return thoughts, pieces + (self._tools.flush() if last else [])


async def chat_completions(request: Request) -> Response:
    """Answer one chat request."""
    service = service_of(request)
    body = await read_request(request, ChatRequest)
    service.admit()
    task = prepare(service, body)
    request_id = new_request_id()
    updates = service.generator.run(request_id, [task.prompt], task.sampling)
    if body.stream:
        head = Head(request_id, "chat.completion.chunk", body.model)
        return await event_stream(request, _chunks(head, updates, task))
    answers = await collect(request, updates)
    head = Head(request_id, "chat.completion", body.model)
    counts = usage(answers, n=task.sampling.n)
    metadata = {"weight_version": service.args.weight_version}
    choices = [_choice(answer, task) for answer in answers]
    return JsonResponse(head.body(choices, usage=counts, metadata=metadata))


def prepare(service: Service, body: ChatRequest) -> Task:
    """Check a request and render its prompt.

    Raises:
        ApiError: Contradictory or impossible parameters, or a conversation the template refuses.
    """
    args = service.args
    max_tokens = body.max_completion_tokens or body.max_tokens
    _check(body, max_tokens, args.context_length)
    tools = _tools_on_offer(body) if args.tool_call_parser else ()
    forced = _forced_call(body.tool_choice) if tools else ""
    variables = body.template_kwargs | ({"enable_thinking": False} if forced else {})
    offered = tools or _tools_on_offer(body)
    prompt = service.chat.prompt(body.messages, [tool.model_dump(exclude_unset=True) for tool in offered], variables)
    defaults = service.chat.sampling_defaults
    sampling = Sampling(
        max_new_tokens=max_tokens,
        temperature=defaults.get("temperature", DEFAULT_TEMPERATURE) if body.temperature is None else body.temperature,
        top_p=defaults.get("top_p", DEFAULT_TOP_P) if body.top_p is None else body.top_p,
        seed=body.seed,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=body.ignore_eos,
        thinking=args.reasoning_parser is not None and body.thinking and not forced,
        n=body.n,
    )
    split_thoughts = args.reasoning_parser is not None and body.separate_reasoning
    return Task(body, prompt + service.chat.encode(forced), sampling, tools, split_thoughts, forced)


def _check(body: ChatRequest, max_tokens: int | None, context_length: int) -> None:
    if not body.messages:
        raise ApiError("Messages cannot be empty.")
    if body.tool_choice == "required" and not body.tools:
        raise ApiError("Tools cannot be empty if tool choice is set to required.")
    if isinstance(body.tool_choice, ToolChoice):
        if not body.tools:
            raise ApiError("Tools cannot be empty if tool choice is set to a specific tool.")
        if not _tools_on_offer(body):
            raise ApiError(f"Tool '{body.tool_choice.function.name}' not found in tools list.")
    for number, tool in enumerate(body.tools or ()):
        if error := _fault_of_schema(orjson.dumps(tool.function.parameters or {})):
            raise ApiError(f"Tool {number} function has invalid 'parameters' schema: {error}")
    if max_tokens and max_tokens > context_length:
        raise ApiError(
            f"max_completion_tokens is too large: {max_tokens}."
            f"This model supports at most {context_length} completion tokens."
        )


@functools.lru_cache(maxsize=256)
def _fault_of_schema(schema: bytes) -> str:
    """What is wrong with a JSON schema; empty if nothing. Clients send the same tools again and again."""
    try:
        Draft202012Validator.check_schema(orjson.loads(schema))
    except SchemaError as error:
        return str(error)
    return ""


def _tools_on_offer(body: ChatRequest) -> tuple[Tool, ...]:
    """The tools the model gets to see: none, all, or the one the client named."""
    if body.tool_choice == "none":
        return ()
    if isinstance(body.tool_choice, ToolChoice):
        return tuple(tool for tool in body.tools or () if tool.function.name == body.tool_choice.function.name)
    return tuple(body.tools or ())


def _forced_call(choice: ToolChoice | str) -> str:
    """How an answer must begin so that it calls a tool, as the client demands.

    SGLang constrains the answer by a grammar; here it is begun for the model instead, without thoughts.
    """
    if isinstance(choice, ToolChoice):
        return CALL_START + choice.function.name
    return CALL_START if choice == "required" else ""


async def _chunks(head: Head, updates: AsyncGenerator[Answer], task: Task) -> AsyncGenerator[bytes]:
    options = task.request.stream_options or StreamOptions()
    parsers: dict[int, AnswerParser] = {}
    answers: dict[int, Answer] = {}
    finished: list[Answer] = []
    async with aclosing(updates):
        async for answer in updates:
            index = answer.index
            if index not in parsers:
                parsers[index], answers[index] = task.parser(), answer
                yield sse(_chunk(head, index, {"reasoning_content": None, "role": "assistant", "content": ""}))
            thoughts, pieces = parsers[index].feed(answer.delta, last=answer.finish is not None)
            counts = usage([answer]) if options.continuous_usage_stats else None
            for chunk in _delta_chunks(head, index, thoughts, pieces, task):
                yield sse(chunk | {"usage": counts} if counts else chunk)
            if answer.finish is not None:
                finished.append(answer)
    for answer in finished:
        calls = parsers[answer.index].calls
        yield sse(_chunk(head, answer.index, {"reasoning_content": None}, *_finish(answer, calls)))
    if options.include_usage:
        yield sse(head.body([], usage=usage(answers.values(), n=task.sampling.n)))
    yield DONE


def _delta_chunks(head: Head, index: int, thoughts: str, pieces: Sequence[Piece], task: Task) -> list[Json]:
    """Chunks for what one update settled; while tools are on offer, SGLang spells out every field."""
    chunks = [_chunk(head, index, {"reasoning_content": thoughts})] if thoughts else []
    for piece in pieces:
        if task.tools:
            chunks.append(_chunk(head, index, _spelled_out(piece)) | {"usage": None})
        elif isinstance(piece, AnswerText):
            chunks.append(_chunk(head, index, {"reasoning_content": None, "content": piece.text}))
    return chunks


def _chunk(head: Head, index: int, delta: Json, reason: str | None = None, matched: object = None) -> Json:
    choice = {
        "index": index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": reason,
        "matched_stop": matched,
    }
    return head.body([choice])


def _spelled_out(piece: Piece) -> Json:
    content = piece.text if isinstance(piece, AnswerText) else None
    calls: list[Json] | None = None
    if isinstance(piece, CallOpened):
        calls = [_call(_new_call_id(), piece.index, piece.name, "")]
    elif isinstance(piece, CallArguments):
        calls = [_call(None, piece.index, None, piece.piece)]
    return {"role": None, "content": content, "reasoning_content": None, "tool_calls": calls}


def _choice(answer: Answer, task: Task) -> Json:
    """One choice of an answer that is not streamed; a call cut off by the token limit stays text."""
    parser = task.parser()
    thoughts, pieces = parser.feed(answer.text, last=True)
    calls: list[Json] = []
    content = ""
    for piece in pieces:
        match piece:
            case AnswerText(text):
                content += text
            case CallOpened(index, name):
                calls.append(_call(_new_call_id(), index, name, ""))
            case CallArguments(index, arguments):
                calls[index]["function"]["arguments"] += arguments
    reason, matched = _finish(answer, parser.calls)
    message = {
        "role": "assistant",
        "content": content + parser.unfinished or None,
        "reasoning_content": thoughts or None,
        "tool_calls": calls[: parser.calls] or None,
    }
    return {
        "index": answer.index,
        "message": message,
        "logprobs": None,
        "finish_reason": reason,
        "matched_stop": None if reason == "tool_calls" else matched,
    }


def _finish(answer: Answer, calls: int) -> tuple[str | None, object]:
    """Finish reason and what matched; `tool_calls` where an answer with calls stopped by itself."""
    if answer.finish is None:
        return None, None
    reason = "tool_calls" if calls and answer.finish.reason == "stop" else answer.finish.reason
    return reason, answer.finish.matched


def _call(call_id: str | None, index: int, name: str | None, arguments: str) -> dict[str, Any]:
    return {
        "id": call_id,
        "index": index,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _new_call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
