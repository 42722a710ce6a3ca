"""The measuring client against a server that follows a script: right stamps, and failures that are recorded."""

from __future__ import annotations

import dataclasses
import socket
from typing import Any

import pytest

from slipway.endpoint import Endpoint
from slipway.measure.client import drive
from slipway.measure.load import ClosedLoop
from slipway.measure.metrics import accept_length, tpot_s, ttft_s
from slipway.measure.samples import Sample, parse
from tests.support.measure_server import (
    CUT,
    DONE,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    Script,
    Served,
    Step,
    answer,
    completion,
    framed,
    paced,
    request,
    same,
    serving,
)

pytestmark = pytest.mark.usefixtures("each_receiver")

WIDE_S = 0.15  # two busy cores; what is measured lasts longer


def measured(
    script: Script, *, count: int = 1, concurrency: int = 1, timeout_s: float = 20.0, key: str | None = None
) -> tuple[list[Sample], list[Served]]:
    with serving(script) as server:
        endpoint = Endpoint(server.url, "m", key)
        requests = [request(number) for number in range(count)]
        exchanges = drive(endpoint, requests, ClosedLoop(concurrency), timeout_s=timeout_s).exchanges
    assert [exchange.request_id for exchange in exchanges] == [each.request_id for each in requests]
    return [parse("chat", exchange) for exchange in exchanges], server.served


# --- times -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reasoning", [0, 2])
def test_times_are_those_of_the_server(reasoning: int) -> None:
    counts, pauses_s = [5, 7, 10, 11], [0.3, 0.25, 0.2, 0.25]
    (sample,), (served,) = measured(same(*paced(completion(counts, reasoning=reasoning), pauses_s)))
    assert sample.error == ""
    assert sample.event_tokens == tuple(counts)
    truth_s = [sent - served.arrived_s for sent in served.sent_s[: len(counts)]]
    assert list(sample.event_s) == pytest.approx(truth_s, abs=WIDE_S)
    assert ttft_s([sample]) == pytest.approx([0.3], abs=WIDE_S)
    # Six tokens after the first event, which held five: dividing by n - 1 would give 0.07.
    assert tpot_s([sample]) == pytest.approx([0.7 / 6], abs=WIDE_S / 6)
    assert sample.e2e_s == sample.event_s[-1]


def test_end_of_the_stream_is_the_last_event_not_the_last_byte() -> None:
    *events, done = completion([1, 2])
    steps: list[Step] = [STREAM_HEAD, framed(b"".join(events)), 0.4, framed(done), STREAM_END]
    (sample,), _ = measured(same(*steps))
    assert sample.e2e_s < 0.4


def test_what_shares_a_decode_step_counts_as_one_step() -> None:
    (sample,), _ = measured(same(*paced(completion([1, 4, 4, 8, 10]), [])))
    assert accept_length([sample]) == [3.5]


# --- segments --------------------------------------------------------------------------------------------------


def test_stream_in_single_bytes_merged_and_commented() -> None:
    whole = b": hello\n\n" + b"".join(completion([1, 2, 6], reasoning=1)).replace(b"c2", "ü🚢".encode())
    body = framed(whole[:400]) + framed(whole[400:]) + STREAM_END
    pieces = [body[index : index + 1] for index in range(len(body))]
    for steps in ([STREAM_HEAD, *pieces], [STREAM_HEAD + body]):
        (sample,), _ = measured(same(*steps))
        assert sample.error == ""
        assert (sample.reasoning, sample.content, sample.event_tokens) == ("r1 ", "ü🚢 c6 ", (1, 2, 6))


# --- the loop --------------------------------------------------------------------------------------------------


def test_all_are_sent_once_and_no_more_than_allowed_at_a_time() -> None:
    (samples, served) = measured(same(*paced(completion([1, 2]), [0.05])), count=11, concurrency=3)
    assert not any(sample.error for sample in samples)
    assert sorted(int(each.body["messages"][0]["content"]) for each in served) == list(range(11))
    begins = sorted(sample.sent_s for sample in samples)
    ends = sorted(sample.sent_s + sample.e2e_s for sample in samples)
    # The fourth cannot begin before one of the first three has ended, and so on.
    assert all(begin >= end - 0.01 for begin, end in zip(begins[3:], ends, strict=False))


def test_progress_is_told() -> None:
    told: list[int] = []
    with serving(same(*paced(completion([1, 2]), []))) as server:
        requests = [request(number) for number in range(4)]
        drive(Endpoint(server.url, "m"), requests, ClosedLoop(2), timeout_s=20, on_done=told.append)
    assert told == [1, 2, 3, 4]


def test_request_names_model_and_key_and_wants_no_compression() -> None:
    _, (served,) = measured(same(*paced(completion([1]), [])), key="k-1")
    assert served.body["model"] == "m"
    assert served.headers["authorization"] == "Bearer k-1"
    assert served.headers["accept-encoding"] == "identity"


def test_nothing_to_send() -> None:
    assert drive(Endpoint("http://127.0.0.1:9", "m"), [], ClosedLoop(4), timeout_s=1).exchanges == ()


# --- failures --------------------------------------------------------------------------------------------------

GOOD = completion([1, 3, 5])


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([answer(500, b'{"object":"error","message":"boom","code":500}')], "HTTP 500: "),
        ([answer(401, b'{"error":"Unauthorized"}')], "HTTP 401: "),
        ([answer(200, b'{"choices":[]}')], "the stream ended without [DONE]"),
        ([answer(200, b"<html>hello</html>", "text/html")], "the stream ended without [DONE]"),
        ([STREAM_HEAD, framed(GOOD[0] + GOOD[1]), CUT], "Error"),
        ([STREAM_HEAD, framed(GOOD[0] + GOOD[1])[:-7], CUT], "Error"),
        ([CUT], "Error"),
        ([b"SSH-2.0-OpenSSH\r\n\r\n", CUT], "Error"),
        ([STREAM_HEAD, framed(b"".join(GOOD[:-1])), STREAM_END], "the stream ended without [DONE]"),
        ([STREAM_HEAD, framed(b"data: {oops\n\n" + DONE), STREAM_END], "malformed stream"),
        (
            [STREAM_HEAD, framed(GOOD[1] + b'data: {"object":"error","message":"boom"}\n\n' + DONE), STREAM_END],
            "error in the stream: boom",
        ),
    ],
)
def test_failure_is_recorded(steps: list[Step], said: str) -> None:
    (sample,), _ = measured(same(*steps))
    assert said in sample.error
    assert sample.e2e_s >= 0


@pytest.mark.parametrize("before", [[], [STREAM_HEAD], [STREAM_HEAD, framed(GOOD[0] + GOOD[1])]])
def test_stall_ends_at_the_deadline(before: list[Step]) -> None:
    (sample,), _ = measured(same(*before, STALL), timeout_s=0.3)
    assert sample.error == "no end within 0.3 s"
    assert sample.e2e_s < 5


def test_server_that_drips_for_ever_ends_at_the_deadline() -> None:
    drips: list[Step] = [step for _ in range(200) for step in (framed(b": wait\n\n"), 0.05)]
    (sample,), _ = measured(same(STREAM_HEAD, *drips), timeout_s=0.4)
    assert sample.error == "no end within 0.4 s"


def test_connection_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (exchange,) = drive(Endpoint(f"http://127.0.0.1:{port}", "m"), [request(0)], ClosedLoop(1), timeout_s=5).exchanges
    sample = parse("chat", exchange)
    assert sample.error.startswith("ConnectError")
    assert dataclasses.asdict(sample)["event_s"] == ()


@pytest.mark.parametrize("url", ["not-a-url", "http://[::1", "ftp://127.0.0.1"])
def test_address_that_is_none_is_recorded(url: str) -> None:
    (exchange,) = drive(Endpoint(url, "m"), [request(0)], ClosedLoop(1), timeout_s=5).exchanges
    assert exchange.error


def test_failures_do_not_disturb_the_others() -> None:
    good = paced(completion([1, 2, 3]), [0.02])

    def script(body: dict[str, Any]) -> list[Step]:
        number = int(body["messages"][0]["content"])
        return {0: [CUT], 3: [answer(500, b"boom")], 5: [STREAM_HEAD, STALL]}.get(number, good)

    samples, _ = measured(script, count=9, concurrency=3, timeout_s=1.0)
    assert [bool(sample.error) for sample in samples] == [number in {0, 3, 5} for number in range(9)]
    assert len(ttft_s(samples)) == 6
