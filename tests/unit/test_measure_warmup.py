"""Warming up: every length is covered, rounds end when latency is steady, and a failure ends it all."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from slipway.endpoint import Endpoint
from slipway.errors import Crashed
from slipway.measure.warmup import WarmupResult, warm_up
from slipway.profile import Warmup
from tests.support.measure_server import DONE, STREAM_END, STREAM_HEAD, Served, Step, answer, event, framed, serving

TEMPLATE_TOKENS, CHARACTERS_PER_TOKEN = 17, 2.5


def prompt_tokens(body: dict[str, Any]) -> int:
    return TEMPLATE_TOKENS + round(sum(len(m["content"]) for m in body["messages"]) / CHARACTERS_PER_TOKEN)


def stream(body: dict[str, Any], *, wait_s: float, gap_s: float = 0.02, usage: bool = True) -> list[Step]:
    """Four tokens in two events, after a wait."""
    parts = [event({"content": "a"}, tokens=1 if usage else None), event({"content": "b"}, tokens=4 if usage else None)]
    last = event({}, finish="stop")
    final = event(None, tokens=4 if usage else None).replace(
        b'"prompt_tokens": 11', b'"prompt_tokens": %d' % prompt_tokens(body)
    )
    return [wait_s, STREAM_HEAD, framed(parts[0]), gap_s, framed(parts[1] + last + final + DONE), STREAM_END]


def spec(**changes: Any) -> Warmup:
    values = {
        "concurrency": 2,
        "prompt_tokens": (64, 512, 2304),
        "max_rounds": 6,
        "steady_within": 0.5,
        "max_tokens": 4,
    }
    return Warmup.model_validate(values | changes)


def is_round(body: dict[str, Any]) -> bool:
    return "chat_template_kwargs" in body


def warmed(script: Any, **changes: Any) -> tuple[WarmupResult, list[Served]]:
    with serving(script) as server:
        result = warm_up(Endpoint(server.url, "m"), spec(**changes), timeout_s=20)
    return result, server.served


def test_lengths_are_covered_in_tokens_of_the_served_tokenizer() -> None:
    _, served = warmed(lambda body: stream(body, wait_s=0.0))
    lengths = [prompt_tokens(each.body) for each in served if not is_round(each.body)]
    assert lengths[2:] == pytest.approx([64, 512, 2304], rel=0.02)  # after the two probes
    assert all(each.body["temperature"] > 0 for each in served)  # sampling is compiled too


def test_lengths_are_guessed_where_the_server_counts_nothing() -> None:
    result, served = warmed(lambda body: stream(body, wait_s=0.05, usage=False))
    lengths = [len(each.body["messages"][0]["content"]) for each in served if not is_round(each.body)]
    assert lengths[2:] == pytest.approx([192, 1536, 6912], rel=0.1)
    assert result.steady  # by the time to first token alone
    assert set(result.tpot_s) == {0.0}


@pytest.mark.slow
def test_rounds_end_when_two_agree() -> None:
    answers = itertools.count()

    def cooling(body: dict[str, Any]) -> list[Step]:
        """Four requests a round; the rounds wait 0.9, 0.3, 0.1, 0.1 … seconds."""
        if not is_round(body):
            return stream(body, wait_s=0.0)
        return stream(body, wait_s=[0.9, 0.3, 0.1][min(next(answers) // 4, 2)], gap_s=0.15)

    result, served = warmed(cooling)
    assert result.steady
    assert len(result.ttft_s) == len(result.tpot_s) == 4
    assert result.ttft_s[0] > 0.7
    assert result.ttft_s[1] < 0.6
    assert sum(is_round(each.body) for each in served) == 16


def test_rounds_are_given_up() -> None:
    answers = itertools.count()

    def unsteady(body: dict[str, Any]) -> list[Step]:
        return stream(body, wait_s=[0.02, 0.2][next(answers) // 4 % 2] if is_round(body) else 0.0)

    rounds: list[int] = []
    with serving(unsteady) as server:
        result = warm_up(Endpoint(server.url, "m"), spec(max_rounds=3), timeout_s=20, on_round=rounds.append)
    assert not result.steady
    assert rounds == [1, 2, 3]


def test_failing_request_ends_it() -> None:
    def script(body: dict[str, Any]) -> list[Step]:
        return [answer(500, b"out of memory")] if len(str(body["messages"])) > 3000 else stream(body, wait_s=0.0)

    with pytest.raises(Crashed, match="1 of 1 warm-up requests failed: HTTP 500: out of memory"):
        warmed(script)


def test_a_model_with_nothing_to_say_is_left_to_the_gates() -> None:
    silent = framed(event({}, finish="stop") + DONE)

    def script(body: dict[str, Any]) -> list[Step]:
        return stream(body, wait_s=0.0) if is_round(body) else [STREAM_HEAD, silent, STREAM_END]

    result, served = warmed(script)
    assert result.steady
    assert not any(is_round(each.body) for each in served[:5])
