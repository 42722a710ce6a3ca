"""Framing: however a response is cut into pieces, its body and its end are the same, and nothing leaks beyond."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.measure.framing import CHUNKED_TAIL, MAX_HEAD_BYTES, MAX_LINE_BYTES, BadResponse, Framing

BODIES = st.lists(st.binary(min_size=1, max_size=60) | st.sampled_from([b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"5\r\n"]))


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes, int]:
    """A response that a server may send on a connection it keeps: bytes, body, status."""
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"]))
    parts = draw(BODIES)
    kind = draw(st.sampled_from(["chunked", "length", "none"]))
    head = b"HTTP/1.1 200 OK\r\nServer: x\r\n"
    if kind == "none":
        status = draw(st.sampled_from([204, 304]))
        return interim + b"HTTP/1.1 %d\r\nContent-Length: 7\r\n\r\n" % status, b"", status
    if kind == "length":
        body = b"".join(parts)
        return interim + head + b"content-length:  %d \r\n\r\n" % len(body) + body, body, 200
    extension = draw(st.sampled_from([b"", b";a", b";a=b ", b';q="0"']))
    trailers = draw(st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: 1\r\nB: 2\r\n"]))
    size = draw(st.sampled_from([b"%x%b\r\n", b"%X%b\r\n", b"000%x%b\r\n"]))
    chunks = b"".join(size % (len(part), extension) + part + b"\r\n" for part in parts)
    coding = b"Transfer-Encoding: %b\r\n\r\n" % draw(st.sampled_from([b"chunked", b"Chunked"]))
    return interim + head + coding + chunks + b"0" + extension + b"\r\n" + trailers + b"\r\n", b"".join(parts), 200


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` in pieces of any size, empty ones left out."""
    places = sorted(draw(st.sets(st.integers(1, max(len(data) - 1, 1)), max_size=40)))
    edges = [0, *(place for place in places if place < len(data)), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges) if end > begin]


@given(st.data(), responses())
def test_any_split_gives_the_same_body_and_end(data: st.DataObject, response: tuple[bytes, bytes, int]) -> None:
    raw, body, status = response
    pieces = data.draw(cut(raw))
    framing = Framing()
    ends = [framing.feed(piece) for piece in pieces]
    assert ends == [False] * (len(pieces) - 1) + [True]
    assert b"".join(framing.bodies(pieces)) == body
    assert (framing.status, framing.surplus, framing.reusable) == (status, 0, True)


@given(st.data(), responses())
def test_body_bytes_belong_to_the_piece_that_brought_them(
    data: st.DataObject, response: tuple[bytes, bytes, int]
) -> None:
    raw, _, _ = response
    pieces = data.draw(cut(raw))
    before: list[bytes] = []
    framing = Framing()
    for count, piece in enumerate(pieces, 1):
        framing.feed(piece)
        found = framing.bodies(pieces[:count])
        assert len(found) == count
        assert found[:-1] == before  # what comes later changes nothing
        before = found


@given(st.data(), st.lists(responses(), min_size=2, max_size=4))
def test_pipelined_responses_do_not_leak(data: st.DataObject, several: list[tuple[bytes, bytes, int]]) -> None:
    pieces = data.draw(cut(b"".join(raw for raw, _, _ in several)))
    found: list[tuple[bytes, int]] = []
    taken, framing = [], Framing()
    while pieces:
        piece = pieces.pop(0)
        taken.append(piece)
        if framing.feed(piece):
            surplus = piece[len(piece) - framing.surplus :]
            found.append((b"".join(framing.bodies(taken)), framing.status))
            pieces[:0] = [surplus] if surplus else []
            taken, framing = [], Framing()
    assert not taken
    assert found == [(body, status) for _, body, status in several]


@given(st.data(), responses())
def test_a_tail_never_misses_the_end(data: st.DataObject, response: tuple[bytes, bytes, int]) -> None:
    """The client feeds what a read's tail makes it look at; the read with the end is always one of those."""
    pieces = data.draw(cut(response[0]))
    framing, pending = Framing(), b""
    for piece in pieces:
        pending += piece
        if not framing.chunked or len(piece) < len(CHUNKED_TAIL) or piece.endswith(CHUNKED_TAIL):
            framing.feed(pending)
            pending = b""
    assert framing.ended


@given(st.data(), responses())
def test_h11_agrees(data: st.DataObject, response: tuple[bytes, bytes, int]) -> None:
    """Against an implementation that others rely on."""
    raw, body, status = response
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    reader.send(h11.EndOfMessage())
    for piece in data.draw(cut(raw)):
        reader.receive_data(piece)
    events = []
    while not isinstance(events[-1] if events else None, h11.EndOfMessage):
        events.append(reader.next_event())
    assert b"".join(event.data for event in events if isinstance(event, h11.Data)) == body
    assert [event.status_code for event in events if isinstance(event, h11.Response)] == [status]


def fed(pieces: Iterable[bytes]) -> Framing:
    framing = Framing()
    for piece in pieces:
        framing.feed(piece)
    return framing


def read(data: bytes) -> Framing:
    return fed([data])


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: x, close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_whether_the_connection_is_kept(head: bytes, reusable: bool) -> None:
    framing = read(head + b"Content-Length: 2\r\n\r\nok")
    assert framing.ended
    assert framing.reusable is reusable


def test_without_a_length_the_body_ends_with_the_connection() -> None:
    pieces = [b"HTTP/1.1 200 OK\r\n\r", b"\ndata: 1\n\n", b"\r\n0\r\n\r\n"]
    framing = Framing()
    assert [framing.feed(piece) for piece in pieces] == [False] * 3
    framing.close()
    assert framing.ended
    assert not framing.reusable
    assert framing.bodies(pieces) == [b"", b"data: 1\n\n", b"\r\n0\r\n\r\n"]


def test_coding_and_extension_as_the_standard_allows_them() -> None:
    framing = read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0 ; a=b\r\n\r\n")
    assert framing.ended


def test_a_coding_that_is_not_chunked_ends_with_the_connection() -> None:
    framing = read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nabc")
    assert not framing.ended
    framing.close()
    assert framing.ended


def test_lines_may_end_without_a_carriage_return_in_the_head() -> None:
    assert read(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n").ended


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP/1.1 response: b'SSH-2.0"),
        (b"HTTP/2 200\r\n\r\n", "no HTTP/1.1 response"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_HEAD_BYTES, "a head of more than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "a content-length of b'-1'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "a content-length of b'1,2'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "no chunk size: b'xyz'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "no chunk size"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\n", "no chunk size"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer than it says"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (MAX_LINE_BYTES + 1), "no chunk size"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"x" * (MAX_HEAD_BYTES + 1),
            "trailers of more",
        ),
    ],
)
def test_nonsense_is_refused_in_one_piece_and_in_bytes(data: bytes, said: str) -> None:
    with pytest.raises(BadResponse, match=said):
        read(data)
    step = 997 if len(data) > 1000 else 1
    with pytest.raises(BadResponse):
        fed([data[index : index + step] for index in range(0, len(data), step)])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "before the response"),
        (b"HTTP/1.1 200", "before the response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "within the response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "within the response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", "within the response"),
    ],
)
def test_a_response_cut_short_is_told(data: bytes, said: str) -> None:
    framing = Framing()
    framing.feed(data)
    with pytest.raises(BadResponse, match=said):
        framing.close()
