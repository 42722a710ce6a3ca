"""Connections of the measuring client: kept, stale, encrypted, and closed when the run is over or broken off."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import resource
import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slipway.endpoint import Endpoint
from slipway.errors import Misconfigured
from slipway.measure import loop, stamps
from slipway.measure.client import Observed, drive
from slipway.measure.load import ClosedLoop, OpenLoop
from slipway.measure.samples import parse
from tests.support.certificates import certify
from tests.support.measure_server import (
    CUT,
    HANG_UP,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    Script,
    Served,
    Step,
    completion,
    framed,
    number_of,
    paced,
    request,
    same,
    serving,
)

pytestmark = pytest.mark.usefixtures("each_receiver")

ONE_STREAM = ClosedLoop(1)
GOOD = paced(completion([1, 2, 3]), [])
WHOLE = b"".join(step for step in GOOD if isinstance(step, bytes))


def driven(script: Script, count: int, load: ClosedLoop | OpenLoop = ONE_STREAM) -> tuple[Observed, list[Served]]:
    with serving(script) as server:
        observed = drive(Endpoint(server.url, "m"), [request(n) for n in range(count)], load, timeout_s=20)
    return observed, server.served


def errors(observed: Observed) -> list[str]:
    return [parse("chat", exchange).error for exchange in observed.exchanges]


# --- kept or not -----------------------------------------------------------------------------------------------


def test_a_connection_is_kept() -> None:
    observed, served = driven(same(*GOOD), 6, ClosedLoop(2))
    assert errors(observed) == [""] * 6
    assert {each.connection for each in served} == {0, 1}
    assert {each.headers["connection"] for each in served} == {"keep-alive"}
    assert sum(each.connect_s > 0 for each in observed.exchanges) == 2


def test_a_connection_is_not_kept() -> None:
    observed, served = driven(same(*GOOD), 4, ClosedLoop(2, keep_alive=False))
    assert errors(observed) == [""] * 4
    assert {each.connection for each in served} == {0, 1, 2, 3}
    assert {each.headers["connection"] for each in served} == {"close"}
    assert all(each.connect_s > 0 for each in observed.exchanges)


def test_a_server_that_closes_after_each_answer() -> None:
    closing = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    observed, served = driven(same(closing, HANG_UP), 4)
    assert errors(observed) == [""] * 4
    assert len({each.connection for each in served}) == 4


def test_stale_connection_is_opened_again() -> None:
    """Closed as soon as the next request arrives, as by a server whose keep-alive ran out a moment before."""
    calls: list[int] = []

    def script(body: dict[str, Any]) -> Sequence[Step]:
        calls.append(number_of(body))
        return [HANG_UP] if len(calls) == 2 else GOOD

    observed, _ = driven(script, 3)
    assert errors(observed) == ["", "", ""]
    assert calls == [0, 1, 1, 2]


def test_stale_connection_is_opened_again_only_once() -> None:
    calls: list[int] = []

    def script(body: dict[str, Any]) -> Sequence[Step]:
        calls.append(number_of(body))
        return GOOD if calls[-1] != 1 else [HANG_UP]

    observed, _ = driven(script, 3)
    assert [bool(error) for error in errors(observed)] == [False, True, False]
    assert calls == [0, 1, 1, 2]


def test_with_one_stale_connection_all_that_idle_are() -> None:
    """A server that restarted knows none of them: the second try is made on a new one."""
    three_at_once = OpenLoop((0.0, 0.0, 0.0, 1.5))
    known: list[int] = []

    def script(body: dict[str, Any]) -> Sequence[Step]:
        known.append(number_of(body))
        return paced(completion([1, 2]), [0.2]) if known.count(3) != 1 else [HANG_UP]

    observed, served = driven(script, 4, three_at_once)
    assert errors(observed) == [""] * 4
    first, again = (each.connection for each in served if number_of(each.body) == 3)
    used = {each.connection for each in served if number_of(each.body) != 3}
    assert len(used) == 3
    assert first in used
    assert again not in used


def test_connections_that_all_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that restarts: in one wake-up the request in flight is lost, and after it those that idle."""
    monkeypatch.setattr(loop, "NAP_FROM_STREAMS", 0)
    monkeypatch.setattr(loop, "NAP_NS", 100_000_000)
    monkeypatch.setattr(loop, "LONGEST_NAP_NS", 100_000_000)
    monkeypatch.setattr(stamps, "kernel_stamps", lambda: True)
    restarted = threading.Event()

    def script(body: dict[str, Any]) -> Sequence[Step]:
        if number_of(body) < 4 or restarted.is_set():
            return paced(completion([1, 2]), [0.2])
        restarted.set()
        mine = server.open.pop(server.served[-1].connection)
        for connection in (mine, *server.open):
            connection.shutdown(socket.SHUT_RDWR)
        return []

    with serving(script) as server:
        load = OpenLoop((0.0, 0.0, 0.0, 0.0, 1.0))
        observed = drive(Endpoint(server.url, "m"), [request(n) for n in range(5)], load, timeout_s=20)
    assert errors(observed) == [""] * 5
    assert restarted.is_set()


@pytest.mark.parametrize("first", [b"HTTP/1.1 200", STREAM_HEAD, STREAM_HEAD + framed(b"data: {}")])
def test_a_connection_that_brought_a_byte_is_not_stale(first: bytes) -> None:
    calls: list[int] = []

    def script(body: dict[str, Any]) -> Sequence[Step]:
        calls.append(number_of(body))
        return [first, HANG_UP] if calls[-1] == 1 else GOOD

    observed, _ = driven(script, 2)
    assert calls == [0, 1]
    assert "ProtocolError: the server closed the connection" in observed.exchanges[1].error


def test_a_fresh_connection_is_not_stale() -> None:
    observed, served = driven(same(CUT), 2)
    assert all(each.error for each in observed.exchanges)
    assert len(served) == 2


def test_idle_connection_closed_by_the_server_costs_nothing() -> None:
    observed, _ = driven(same(*GOOD[:-1], STREAM_END, HANG_UP), 3, OpenLoop((0.0, 0.3, 0.6)))
    assert errors(observed) == ["", "", ""]


def test_more_than_the_response_ends_it_all_the_same() -> None:
    observed, served = driven(same(WHOLE + b"HTTP/1.1 408 Timeout\r\n\r\n"), 3)
    assert errors(observed) == ["", "", ""]
    assert len({each.connection for each in served}) == 3


def test_answer_without_a_length_ends_with_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    observed, _ = driven(same(head + b"".join(completion([1, 2])), HANG_UP), 2)
    assert errors(observed) == ["", ""]


def test_long_prompt_is_sent_in_parts() -> None:
    long = dataclasses.replace(request(0), body={"messages": [{"role": "user", "content": "0" * 8_000_000}]})
    with serving(same(0.1, *GOOD)) as server:
        (exchange,) = drive(Endpoint(server.url, "m"), [long], ClosedLoop(1), timeout_s=20).exchanges
    assert parse("chat", exchange).error == ""
    assert len(server.served[0].body["messages"][0]["content"]) == 8_000_000


# --- encrypted -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certify(tmp_path_factory.mktemp("tls"))


def test_tls(certified: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, security = certified
    script = same(*paced(completion([1, 4, 9]), [0.1, 0.3, 0.2]))
    with serving(script, security=security) as server:
        endpoint = Endpoint(server.url, "m", ca_file=str(ca_file))
        observed = drive(endpoint, [request(n) for n in range(6)], ClosedLoop(3), timeout_s=20)
    samples = [parse("chat", exchange) for exchange in observed.exchanges]
    assert [sample.error for sample in samples] == [""] * 6
    assert {sample.event_tokens for sample in samples} == {(1, 4, 9)}
    gaps_s = [b - a for sample in samples for a, b in itertools.pairwise(sample.event_s)]
    assert gaps_s == pytest.approx([0.3, 0.2] * 6, abs=0.15)
    assert sum(exchange.connect_s > 0 for exchange in observed.exchanges) == 3
    if stamps.kernel_stamps():
        assert observed.quality.stamps == "kernel"  # of the records, though they were opened later


def test_tls_of_large_and_split_records(certified: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, security = certified
    events = [b": " + b"x" * 200_000 + b"\n\n", *completion([1, 2])]
    whole = STREAM_HEAD + b"".join(map(framed, events)) + STREAM_END
    with serving(same(whole), security=security) as server:
        endpoint = Endpoint(server.url, "m", ca_file=str(ca_file))
        observed = drive(endpoint, [request(n) for n in range(2)], ClosedLoop(1), timeout_s=20)
    assert errors(observed) == ["", ""]
    assert {each.connection for each in server.served} == {0}


def test_an_unknown_certificate_is_refused(certified: tuple[Path, ssl.SSLContext]) -> None:
    with serving(same(*GOOD), security=certified[1]) as server:
        observed = drive(Endpoint(server.url, "m"), [request(0), request(1)], ClosedLoop(1), timeout_s=20)
    assert all(
        each.error.startswith("ConnectError") and "certificate verify failed" in each.error
        for each in observed.exchanges
    )


def test_connecting_is_not_waiting_for_a_token(certified: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, security = certified
    with serving(same(*GOOD), security=security, handshake_pause_s=1.0) as server:
        endpoint = Endpoint(server.url, "m", ca_file=str(ca_file))
        (exchange,) = drive(endpoint, [request(0)], ClosedLoop(1), timeout_s=20).exchanges
    assert exchange.connect_s > 0.9
    assert parse("chat", exchange).event_s[0] < 0.6


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_ca_file(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Misconfigured, match=r"The CA file .*ca.pem cannot be used"):
        drive(Endpoint("https://127.0.0.1:9", "m", ca_file=str(path)), [request(0)], ClosedLoop(1), timeout_s=1)


# --- headers and addresses -------------------------------------------------------------------------------------


def test_extra_headers_are_sent_and_not_shown() -> None:
    with serving(same(*GOOD)) as server:
        endpoint = Endpoint(server.url, "m", "k-1", extra_headers={"Modal-Key": "wk-1", "Modal-Secret": "ws-1"})
        drive(endpoint, [request(0)], ClosedLoop(1), timeout_s=20)
    (served,) = server.served
    assert (served.headers["modal-key"], served.headers["modal-secret"]) == ("wk-1", "ws-1")
    assert served.headers["authorization"] == "Bearer k-1"
    assert not any(secret in repr(endpoint) for secret in ("k-1", "wk-1", "ws-1"))


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        (Endpoint("http://127.0.0.1:9", "m", "s-1\n"), "header 'Authorization' holds a line break"),
        (Endpoint("http://127.0.0.1:9", "m", extra_headers={"X": "ключ"}), "characters that HTTP cannot carry"),
        (Endpoint("http://me:s-1@127.0.0.1:9", "m"), "credentials in a URL are not sent"),
        (Endpoint("http://127.0.0.1:99999", "m"), "Port out of range"),
        (Endpoint("http://127.0.0.1:9/a b", "m"), "holds a blank"),
    ],
)
def test_what_cannot_be_sent_is_recorded(endpoint: Endpoint, said: str) -> None:
    told: list[int] = []
    observed = drive(endpoint, [request(0), request(1)], ClosedLoop(1), timeout_s=5, on_done=told.append)
    assert all(said in each.error for each in observed.exchanges)
    assert not any(secret in each.error for each in observed.exchanges for secret in ("s-1", "ключ"))
    assert told == [1, 2]


def test_a_name_is_tried_at_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = silent.getsockname()
    with serving(same(*GOOD)) as server:
        addresses = [nobody, server.server_address]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: found)
        observed = drive(Endpoint("http://several:80", "m"), [request(0)], ClosedLoop(1), timeout_s=20)
    assert errors(observed) == [""]
    assert server.served[0].headers["host"] == "several:80"


# --- the end ---------------------------------------------------------------------------------------------------


class Enough(Exception):
    """Raised in the middle of a run, as Ctrl-C is."""


def test_streams_end_when_the_run_is_broken_off() -> None:
    def stop(_done: int) -> None:
        raise Enough

    def script(body: dict[str, Any]) -> Sequence[Step]:
        return GOOD if number_of(body) == 0 else [STREAM_HEAD, STALL]

    with serving(script) as server:
        # Kept, because its traceback keeps the sockets from being closed by chance.
        with pytest.raises(Enough) as kept:
            drive(Endpoint(server.url, "m"), [request(n) for n in range(4)], ClosedLoop(4), timeout_s=60, on_done=stop)
        # The server sees each of the three that stalled leave.
        assert all(server.left.acquire(timeout=20) for _ in range(len(server.served) - 1))
    del kept
    assert gc.isenabled()


def test_the_deadline_closes_the_stream() -> None:
    with serving(same(STREAM_HEAD, STALL)) as server:
        drive(Endpoint(server.url, "m"), [request(0)], ClosedLoop(1), timeout_s=0.2)
        assert server.left.acquire(timeout=20)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_is_left_open() -> None:
    before = open_files()
    for script in (same(*GOOD), same(CUT), same(HANG_UP)):
        driven(script, 5, ClosedLoop(3))
    assert open_files() <= before


def test_more_streams_than_files_is_refused() -> None:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(Misconfigured, match=f"{allowed} streams need more open files"):
        drive(Endpoint("http://127.0.0.1:9", "m"), [request(0)], ClosedLoop(allowed), timeout_s=1)
