"""The readers of the engine's HTTP surface, over every exchange that was recorded from a real SGLang, replayed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from slipway.endpoint import Endpoint
from slipway.engine import client as engine_client
from slipway.engine.hang import read_pulse
from slipway.engine.readiness import Target, inference_problem
from slipway.measure.conformance import CHECKS, Expectations
from slipway.measure.conformance.probe import Broken, Ended
from slipway.measure.conformance.session import CHAT, Session
from slipway.measure.conformance.tools import sound_calls
from slipway.measure.counters import from_metrics
from tests.support.recorded_server import Exchange, exchanges, serving

MODEL = "glm-5.1-fp8"
KEY = "sk-not-in-the-recordings"
ALL = exchanges()
UNREAD = {"chat_n2"}
"""Two choices in one answer: no check asks for that."""

CONTENT = {
    "chat_json_schema": "{",
    "chat_nothink": "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "chat_nothink_stream": "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "chat_stream": "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    expects = Expectations(MODEL, 16384, reasoning=True, tools=True, requires_key=False, release_id="default")
    with httpx.Client(trust_env=False) as client:
        yield Session(Endpoint(url, MODEL, KEY), expects, client, time.monotonic() + 60)


def ask(session: Session, exchange: Exchange) -> None:
    """Send the recorded request again; what comes is noted in `session.seen`."""
    if exchange.name == "cut_stream":  # its client left before the end
        with session.stream(exchange.asked) as pieces:
            for _ in pieces:
                pass
    elif isinstance(exchange.asked, str):
        session.send(exchange.method, exchange.path, content=exchange.asked.encode())
    else:
        session.send(exchange.method, exchange.path, body=exchange.asked)


def test_the_recordings_are_all_there() -> None:
    assert len(ALL) == 53
    assert sum(each.streamed for each in ALL.values()) == 8


def test_every_exchange_comes_as_it_was_recorded(session: Session) -> None:
    for exchange in ALL.values():
        ask(session, exchange)
    came = [(reply.path, reply.status, reply.header("content-type"), reply.body) for reply in session.seen]
    recorded = [(each.path, each.status, each.header("content-type"), each.answer) for each in ALL.values()]
    assert sorted(came) == sorted(recorded)
    assert all(b"".join(exchange.pieces()) == exchange.answer for exchange in ALL.values())


def test_what_is_checked_over_a_whole_run_holds_for_the_recorded_one(session: Session) -> None:
    """All exchanges as one run. The answers that are broken are the two known ones, and none is broken elsewhere."""
    for exchange in ALL.values():
        if exchange.name not in UNREAD | {"chat_noreasoning_split", "chat_ignore_eos", "chat_tools_required"}:
            ask(session, exchange)
    outcomes = {}
    for check in CHECKS:
        if check.when == "after":
            try:
                outcomes[check.check_id] = check.function(session)
            except Ended as ended:
                outcomes[check.check_id] = f"{ended.outcome}: {ended.detail}"
    assert {check: said for check, said in outcomes.items() if ":" in said} == {}
    assert len(outcomes) == 8
    assert outcomes["stream.done"] == "5 streams end with [DONE]"


@pytest.mark.parametrize(
    "name", [name for name, each in ALL.items() if each.path == CHAT and each.status == 200 and name not in UNREAD]
)
def test_every_chat_is_read(session: Session, name: str) -> None:
    ask(session, ALL[name])
    answer = session.seen[0].answer()
    assert answer.content or answer.reasoning or answer.calls
    assert answer.weight_version == ("" if ALL[name].streamed else "default"), "SGLang does not name it in streams"
    assert answer.content == CONTENT.get(name, answer.content)
    assert bool(answer.finish_reason) == (name != "cut_stream")


def test_the_recorded_fault_is_found(session: Session) -> None:
    """With a grammar in force the real server left the markup of the call in the text."""
    ask(session, ALL["chat_tools_required"])
    with pytest.raises(Broken, match="content holds the markup of a tool call"):
        sound_calls(session.seen[0].answer())


def test_the_engines_own_pages_are_read(url: str) -> None:
    endpoint = Endpoint(url, MODEL, KEY, "default")
    assert engine_client.server_info(endpoint)["version"] == "0.5.12.post1"
    assert engine_client.served_models(endpoint) == (MODEL,)
    assert engine_client.complete_once(endpoint) == "default"
    metrics = engine_client.metrics_text(endpoint)
    assert read_pulse(metrics).moved > 0
    assert from_metrics(metrics).requests


def test_readiness_is_told_from_the_recorded_answers(url: str) -> None:
    target = Target(int(url.rpartition(":")[2]), KEY)
    assert inference_problem(target, time.monotonic() + 30) is None
