"""The load that makes an engine compile what only requests make it compile.

Starting covers the graphs. The sampler, sparse prefill (past `index_topk` tokens), chunked prefill, batches and
the parsers' paths are first reached by requests, and each would make its first user wait.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from slipway.engine.readiness import Target, ask
from slipway.errors import Crashed

_TRIES: Final = 5
_MOST_TOKENS_A_WORD: Final = 8
"""Of any tokenizer: a word here has three digits and a space."""

_SAMPLED: Final = {"temperature": 1.0, "top_p": 0.95}
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def run_load(
    target: Target,
    *,
    model: str,
    lengths: Sequence[int],
    concurrency: int,
    deadline_s: float,
    tell: Callable[[str], None],
) -> dict[str, float]:
    """Ask for one of everything.

    Args:
        target: The engine, ready.
        model: Its served name.
        lengths: Prompt lengths in tokens that must be reached.
        concurrency: Requests of the burst.
        deadline_s: Monotonic time by which it must be over.
        tell: Told the step that begins.

    Returns:
        Seconds by step.

    Raises:
        Crashed: If a request fails.
    """
    client = _Client(target, model, deadline_s)
    seconds: dict[str, float] = {}
    for name, step in _steps(client, lengths, concurrency):
        tell(name)
        began_s = time.monotonic()
        step()
        seconds[name] = time.monotonic() - began_s
    return seconds


def _steps(client: _Client, lengths: Sequence[int], concurrency: int) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "short, greedy", lambda: client.chat(_words("short", 12), temperature=0.0)
    yield "short, sampled", lambda: client.chat(_words("sampled", 12), **_SAMPLED)
    for tokens in sorted(lengths):
        yield f"{tokens} tokens", partial(client.chat_of_length, f"length {tokens}", tokens)
    prefix = _words("prefix", 600)
    yield "prefix", lambda: client.chat(prefix, **_SAMPLED)
    yield "prefix again", lambda: client.chat(f"{prefix} again", **_SAMPLED)
    asked = "What is the weather in Paris?"
    yield "tool call", lambda: client.chat(asked, tools=[_TOOL], **_SAMPLED)
    yield "forced call", lambda: client.chat(asked, tools=[_TOOL], tool_choice="required", **_SAMPLED)
    yield "streaming", lambda: client.chat(_words("stream", 12), stream=True, **_SAMPLED)
    for size in _doubling(concurrency):
        yield f"burst of {size}", partial(client.burst, size)


class _Client:
    """Asks one engine; an answer that is no completion is an error."""

    def __init__(self, target: Target, model: str, deadline_s: float) -> None:
        self._target = target
        self._model = model
        self._deadline_s = deadline_s

    def chat(self, text: str, **options: Any) -> int:
        """Complete one chat; how many tokens the prompt had (0 for a stream, which need not say)."""
        body = {"model": self._model, "messages": [{"role": "user", "content": text}], "max_tokens": 32, **options}
        left_s = self._deadline_s - time.monotonic()
        try:
            answered = ask(self._target, "POST", "/v1/chat/completions", json.dumps(body).encode(), max(0.1, left_s))
            return _prompt_tokens(*answered, streamed=bool(options.get("stream")))
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise Crashed(
                f"A request of the warm-up load failed: {type(error).__name__}: {error}.",
                remedy="Read the engine's log.",
            ) from None

    def chat_of_length(self, name: str, tokens: int) -> None:
        """Complete a chat whose prompt has at least so many tokens; the engine counts them.

        What a word has of tokens is up to the tokenizer, so a short prompt is counted first: one of as many words
        might be refused for its length. No try begins like another, or the prefix cache would prefill most of it.
        """
        words = max(1, tokens // _MOST_TOKENS_A_WORD)
        for number in range(_TRIES):
            counted = self.chat(_words(f"try {number} of {name}", words), **_SAMPLED)
            if counted >= tokens:
                return
            words = int(words * max(1.05, 1.05 * tokens / max(counted, 1))) + 1
        raise Crashed(
            f"No prompt of {tokens} tokens could be made: {words} words were {counted}.",
            remedy="Check the engine's tokenizer and usage.",
        )

    def burst(self, size: int) -> None:
        """Several requests at once, of different lengths."""
        texts = [_words(f"burst of {size}, {number}", 8 + number % 64) for number in range(size)]
        with ThreadPoolExecutor(size) as pool:
            list(pool.map(lambda text: self.chat(text, **_SAMPLED), texts))


def _prompt_tokens(status: int, answer: bytes, *, streamed: bool) -> int:
    if status != 200:
        raise ValueError(f"HTTP {status}: {answer[:200]!r}")
    if not streamed:
        return int(json.loads(answer)["usage"]["prompt_tokens"])
    if b"[DONE]" not in answer:
        raise ValueError("the stream was cut")
    return 0


def _doubling(most: int) -> Iterator[int]:
    """2, 4, 8, … and the most itself: Triton has a kernel for each power of two."""
    size = 2
    while size < most:
        yield size
        size *= 2
    yield most


def _words(name: str, count: int) -> str:
    """So many words that no other prompt begins with."""
    return f"{name}: " + " ".join(str(index * 7919 % 997) for index in range(count))
