"""What the measuring client waits with: in C and in Python the same, but for the processor time."""

from __future__ import annotations

import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hatch_build
from slipway.measure import compiled
from slipway.measure.connection import DESCRIPTORS, READ_BYTES, Connection
from slipway.measure.receiver import Interpreted, Turn
from slipway.measure.stamps import kernel_stamps
from slipway.measure.target import Target

MS = 1_000_000
SOON_NS = 300 * MS
LONG_NS = 20_000 * MS
EVENT = b"3\r\n123\r\n"
LAST = b"0\r\n\r\n"


class Lines:
    """Open connections, and the server's ends of them."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = self.listening.getsockname()
        self.epoll, self.quiet = select.epoll(), bytearray(DESCRIPTORS)
        self.connections: dict[int, Connection] = {}
        self.receiver = compiled.receiver(self.epoll, self.connections, self.quiet)
        self.ends: list[socket.socket] = []

    def begin(self) -> Connection:
        """One that is opening."""
        connection = Connection(Target(socket.AF_INET, self.address, "x", None, b""), self.epoll, self.quiet)
        self.connections[connection.fd] = connection
        return connection

    def open(self) -> tuple[Connection, socket.socket]:
        """One in the middle of a chunked response: most reads end nothing."""
        connection = self.begin()
        self.ends.append(self.listening.accept()[0])
        self.ends[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert self.turn(LONG_NS).writable == [connection]
        connection.writable()
        assert not connection.opening
        self.quiet[connection.fd] = True
        return connection, self.ends[-1]

    def turn(self, span_ns: int, nap_ns: int = 0, *, once: bool = False) -> Turn:
        return self.receiver.turn(time.perf_counter_ns() + span_ns, nap_ns, once=once)

    def close(self) -> None:
        for each in (*self.connections.values(), *self.ends, self.listening, self.epoll):
            each.close()


@pytest.fixture
def lines(each_receiver: str) -> Iterator[Lines]:
    made = Lines()
    assert isinstance(made.receiver, Interpreted) == (each_receiver == "interpreted")
    yield made
    made.close()


def data(connection: Connection) -> list[bytes]:
    return [each for _, each in connection.arrived]


def test_an_open_connection_is_writable(lines: Lines) -> None:
    connection = lines.begin()
    turn = lines.turn(LONG_NS)
    assert (turn.writable, turn.noticed, turn.idle) == ([connection], [], False)


def test_nothing_comes(lines: Lines) -> None:
    connection, _ = lines.open()
    began_s = time.perf_counter()
    turn = lines.turn(SOON_NS)
    assert (turn.writable, turn.noticed, turn.idle) == ([], [], True)
    assert 0.29 < time.perf_counter() - began_s < 5
    assert not connection.arrived


def test_a_read_that_ends_nothing_is_kept_and_not_told(lines: Lines) -> None:
    connection, end = lines.open()
    end.sendall(EVENT)
    turn = lines.turn(SOON_NS)
    assert (turn.noticed, turn.idle) == ([], False)
    assert data(connection) == [EVENT]


@pytest.mark.parametrize("last", [LAST, EVENT + LAST, b"\r\n\r\n", b"\r\n", b"\n"])
def test_a_read_that_may_end_a_response_is_told_at_once(lines: Lines, last: bytes) -> None:
    connection, end = lines.open()
    other, others_end = lines.open()
    others_end.sendall(EVENT)
    assert lines.turn(SOON_NS).noticed == []
    end.sendall(last)
    began_s = time.perf_counter()
    assert lines.turn(LONG_NS).noticed == [connection]
    assert time.perf_counter() - began_s < 10
    assert (data(other), data(connection)) == ([EVENT], [last])


def test_outside_of_chunks_any_read_may(lines: Lines) -> None:
    connection, end = lines.open()
    lines.quiet[connection.fd] = False
    end.sendall(EVENT)
    assert lines.turn(LONG_NS).noticed == [connection]
    assert data(connection) == [EVENT]


def test_closed_by_the_server(lines: Lines) -> None:
    connection, end = lines.open()
    end.sendall(EVENT)
    end.close()
    turn = lines.turn(LONG_NS)
    while not turn.noticed:
        turn = lines.turn(LONG_NS)
    assert turn.noticed == [connection]
    assert data(connection) == [EVENT, b""]
    assert connection.failure is None


def test_reset_by_the_server(lines: Lines) -> None:
    connection, end = lines.open()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
    assert lines.turn(LONG_NS).noticed == [connection]
    assert isinstance(connection.failure, ConnectionResetError)
    assert not connection.arrived


def test_refused(lines: Lines) -> None:
    lines.listening.close()
    connection = lines.begin()
    turn = lines.turn(LONG_NS)
    assert (turn.noticed, turn.writable) == ([connection], [connection])
    assert isinstance(connection.failure, ConnectionRefusedError)


def test_more_than_one_read_takes(lines: Lines) -> None:
    connection, end = lines.open()
    sent = np.random.default_rng(1).bytes(5 * READ_BYTES)
    sender = threading.Thread(target=end.sendall, args=(sent + LAST,))
    sender.start()
    while not lines.turn(LONG_NS).noticed:
        pass
    sender.join()
    assert b"".join(data(connection)) == sent + LAST
    assert max(map(len, data(connection))) <= READ_BYTES


def test_readings_are_numbered_over_all_connections(lines: Lines) -> None:
    pairs = [lines.open() for _ in range(5)]
    for number in range(4):
        for place, (_, end) in enumerate(pairs):
            end.sendall(b"event %d of %d" % (number, place))
        lines.turn(50 * MS)
    for place, (connection, _) in enumerate(pairs):
        assert b"".join(data(connection)) == b"".join(b"event %d of %d" % (number, place) for number in range(4))
    numbers = sorted(number for connection, _ in pairs for number, _ in connection.arrived)
    assert len(set(numbers)) == len(numbers)
    table = lines.receiver.readings.table()
    taken_ns = table["taken_ns"][numbers]
    assert (np.diff(taken_ns) >= 0).all()
    assert (table["since_ns"][numbers] <= taken_ns).all()
    assert taken_ns.tolist() == [lines.receiver.readings.taken_ns(number) for number in numbers]


def test_once_is_once(lines: Lines) -> None:
    connection, end = lines.open()
    end.sendall(EVENT)
    began_s = time.perf_counter()
    turn = lines.turn(LONG_NS, once=True)
    assert time.perf_counter() - began_s < 10
    assert (turn.noticed, turn.idle) == ([], False)
    assert data(connection) == [EVENT]


def test_what_comes_within_a_nap_is_read_together(lines: Lines) -> None:
    pairs = [lines.open() for _ in range(2)]
    lines.turn(0, once=True)  # a nap is counted from the last wake-up
    pairs[0][1].sendall(EVENT)
    later = threading.Timer(0.2, pairs[1][1].sendall, [EVENT])
    later.start()
    lines.turn(LONG_NS, 1_500 * MS, once=True)
    later.join()
    numbers = [number for connection, _ in pairs for number, _ in connection.arrived]
    assert len(numbers) == 2
    assert len(set(lines.receiver.readings.table()["since_ns"][numbers].tolist())) == 1


@pytest.mark.skipif(not kernel_stamps(), reason="this kernel stamps no TCP segments")
def test_the_stamp_is_right_however_late_the_read(lines: Lines) -> None:
    connection, end = lines.open()
    stamp_ns = before_ns = after_ns = 0
    while not stamp_ns and len(connection.arrived) < 100:  # the first go without: stamping starts in the background
        before_ns = time.time_ns()
        end.sendall(EVENT)
        after_ns = time.time_ns()
        time.sleep(0.05)
        lines.turn(SOON_NS, once=True)
        reading = lines.receiver.readings.table()[connection.arrived[-1][0]]
        stamp_ns = int(reading["stamp_s"] * 1_000_000_000 + reading["stamp_ns"])
    assert before_ns <= stamp_ns <= after_ns


def test_what_has_waited_is_told_from_what_has_just_come(lines: Lines) -> None:
    connection, end = lines.open()
    woke_ns = time.perf_counter_ns()
    lines.turn(0, once=True)
    end.sendall(EVENT)
    time.sleep(0.05)
    lines.turn(SOON_NS, once=True)
    later = threading.Timer(0.2, end.sendall, [EVENT])
    later.start()
    sent_after_ns = time.perf_counter_ns()
    lines.turn(LONG_NS, once=True)
    later.join()
    first, second = (lines.receiver.readings.table()[number] for number, _ in connection.arrived)
    assert woke_ns <= first["since_ns"] < first["taken_ns"] - 50 * MS
    assert second["since_ns"] > sent_after_ns + 100 * MS


@pytest.mark.parametrize("nap_ns", [0, LONG_NS])
def test_a_signal_is_not_kept_waiting(lines: Lines, nap_ns: int) -> None:
    class Told(Exception):
        pass

    def tell(*_: object) -> None:
        raise Told

    lines.open()
    before = signal.signal(signal.SIGUSR1, tell)
    try:
        threading.Timer(0.2, signal.pthread_kill, [threading.main_thread().ident, signal.SIGUSR1]).start()
        began_s = time.perf_counter()
        with pytest.raises(Told):
            lines.turn(LONG_NS, nap_ns)
        assert time.perf_counter() - began_s < 10
    finally:
        signal.signal(signal.SIGUSR1, before)


# --- the compiled one alone ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "room"), [("ROOM", 2 * compiled.EVENTS), ("ARENA_BYTES", compiled.EVENTS * READ_BYTES)]
)
def test_it_returns_before_its_room_is_used_up(monkeypatch: pytest.MonkeyPatch, name: str, room: int) -> None:
    monkeypatch.setattr(compiled, name, room)
    lines = Lines()
    assert isinstance(lines.receiver, compiled.Compiled)
    try:
        connection, end = lines.open()
        end.sendall(EVENT)
        began_s = time.perf_counter()
        turn = lines.turn(LONG_NS)
        assert time.perf_counter() - began_s < 10
        assert (turn.noticed, turn.idle) == ([], False)
        assert data(connection) == [EVENT]
    finally:
        lines.close()


def test_without_a_library_it_is_done_without(tmp_path: Path) -> None:
    assert compiled.load(tmp_path / "receive.so") is None


def test_what_is_no_library_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "receive.so").write_bytes(b"\x7fELF and no more")
    assert compiled.load(tmp_path / "receive.so") is None


def test_a_library_of_another_source_is_not_used(tmp_path: Path) -> None:
    other = tmp_path / "receive.c"
    other.write_bytes(compiled.SOURCE.read_bytes() + b"\n")
    hatch_build.compile_library(other, tmp_path / "receive.so")
    assert compiled.load(tmp_path / "receive.so") is None
    hatch_build.compile_library(compiled.SOURCE, tmp_path / "right.so")
    assert compiled.load(tmp_path / "right.so") is not None
