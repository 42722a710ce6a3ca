"""Where an HTTP/1.1 response begins and ends: the message framing of RFC 9112, without I/O.

The client keeps bytes as they came and asks this module two things: has the response ended (while the clock
runs, so it is cheap: payload is skipped, not copied), and which of the bytes were the body (afterwards).
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable
from typing import Final

CRLF: Final = b"\r\n"
CHUNKED_TAIL: Final = b"\r\n\r\n"
"""Every chunked body ends so: the last chunk's line or a trailer's, then an empty line."""

MAX_HEAD_BYTES = 1 << 16
MAX_LINE_BYTES = 1 << 14

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_NEVER: Final = (sys.maxsize, sys.maxsize)


class BadResponse(ValueError):
    """What came is no HTTP/1.1 response, or was cut off."""


class Framing:
    """Follows one response through the bytes of its connection.

    Attributes:
        status: HTTP status, 0 until the head has come.
        ended: Whether the response is complete.
        surplus: Bytes fed that lie beyond its end; a client that never pipelines has no use for them.
        reusable: Whether the server keeps the connection for another request.
        chunked: Whether the body comes in chunks, so that only a read which ends with `CHUNKED_TAIL` can end it.
    """

    __slots__ = ("_left", "_offset", "_rest", "_spans", "_step", "chunked", "ended", "reusable", "status", "surplus")

    def __init__(self) -> None:
        self.status = 0
        self.ended = False
        self.surplus = 0
        self.reusable = False
        self.chunked = False
        self._spans: list[tuple[int, int]] = []  # where the body lies, counted in bytes fed
        self._offset = 0  # of the first byte of `_rest`
        self._rest = b""  # fed, but not understood yet
        self._left = 0  # bytes to come of the chunk or the content
        self._step: Callable[[bytes, int], int] = self._head

    def feed(self, data: bytes) -> bool:
        """Take the next bytes, in pieces of any size.

        Returns:
            Whether the response has ended.

        Raises:
            BadResponse: If they break the framing; what came before stays readable.
        """
        data = self._rest + data
        at = 0
        while not self.ended:
            step, before = self._step, at
            at = step(data, at)
            if at == before and self._step is step:
                break  # needs more
        self._offset += at
        self._rest = data[at:]
        self.surplus = len(self._rest) if self.ended else 0
        return self.ended

    def close(self) -> None:
        """Take the end of the connection.

        Raises:
            BadResponse: If the response was not complete; one without a length is complete now.
        """
        if self._step == self._until_close:
            self.ended = True
        if not self.ended:
            raise BadResponse(f"the server closed the connection {'within' if self.status else 'before'} the response")

    def bodies(self, pieces: Iterable[bytes]) -> list[bytes]:
        """The body bytes within each of the pieces that were fed."""
        spans = iter(self._spans)
        begin, end = next(spans, _NEVER)
        found: list[bytes] = []
        at = 0
        for piece in pieces:
            after = at + len(piece)
            parts: list[bytes] = []
            while begin < after:
                parts.append(piece[begin - at if begin > at else 0 : end - at])
                if end > after:
                    break  # goes on in the next piece
                begin, end = next(spans, _NEVER)
            found.append(parts[0] if len(parts) == 1 else b"".join(parts))
            at = after
        return found

    # Each step takes (data, position), and returns the position up to which it understood.

    def _head(self, data: bytes, at: int) -> int:
        if not data.startswith(b"HTTP/1."[: len(data) - at], at):
            raise BadResponse(f"no HTTP/1.1 response: {data[at : at + 40]!r}")
        blank = _BLANK_LINE.search(data, at)
        if blank is None:
            if len(data) - at > MAX_HEAD_BYTES:
                raise BadResponse(f"a head of more than {MAX_HEAD_BYTES} bytes")
            return at
        status = _STATUS.match(data, at)
        if status is None:
            raise BadResponse(f"no status line: {data[at : at + 40]!r}")
        code = int(status[2])
        if code == 101:
            raise BadResponse("the server switched protocols unasked")
        if code < 200:
            return blank.end()  # an interim response; the next head follows
        self.status = code
        fields = _fields(data[status.end() : blank.start() + 1])
        self._choose_body(fields, self._offset + blank.end())
        connection = _tokens(fields.get(b"connection", b""))
        persists = b"close" not in connection and (status[1] == b"1" or b"keep-alive" in connection)
        self.reusable = persists and self._step != self._until_close
        return blank.end()

    def _choose_body(self, fields: dict[bytes, bytes], begin: int) -> None:
        """RFC 9112, section 6.3: no body, chunks, a length, or until the connection is closed."""
        codings = _tokens(fields.get(b"transfer-encoding", b""))
        if self.status in {204, 304}:
            self.ended = True
        elif codings and codings[-1] == b"chunked":
            self.chunked = True
            self._step = self._chunks
        elif not codings and b"content-length" in fields:
            lengths = set(_tokens(fields[b"content-length"]))
            length = lengths.pop() if len(lengths) == 1 else b""
            if not (length.isdigit() and len(length) <= 15):
                raise BadResponse(f"a content-length of {fields[b'content-length'][:40]!r}")
            self._left = int(length)
            self._spans.append((begin, begin + self._left))
            self.ended = not self._left
            self._step = self._content
        else:
            self._spans.append((begin, sys.maxsize))
            self._step = self._until_close

    def _until_close(self, data: bytes, _at: int) -> int:
        return len(data)

    def _content(self, data: bytes, at: int) -> int:
        taken = min(self._left, len(data) - at)
        self._left -= taken
        self.ended = not self._left
        return at + taken

    def _chunks(self, data: bytes, at: int) -> int:
        size, offset, spans = len(data), self._offset, self._spans
        while (line_end := data.find(CRLF, at, at + MAX_LINE_BYTES)) >= 0:
            length = _chunk_size(data[at:line_end])
            begin = line_end + 2
            if not length:
                self._step = self._trailers
                return begin
            spans.append((offset + begin, offset + begin + length))
            at = begin + length + 2
            if at > size:
                self._left = length
                self._step = self._chunk
                return begin
            if not data.startswith(CRLF, at - 2):
                raise BadResponse(f"a chunk that is longer than it says: {data[at - 2 : at + 20]!r}")
        if size - at > MAX_LINE_BYTES:
            raise BadResponse(f"no chunk size: {data[at : at + 40]!r}")
        return at

    def _chunk(self, data: bytes, at: int) -> int:
        """The rest of a chunk, and the line end behind it."""
        taken = min(self._left, len(data) - at)
        self._left -= taken
        at += taken
        if self._left or len(data) - at < 2:
            return at
        if not data.startswith(CRLF, at):
            raise BadResponse(f"a chunk that is longer than it says: {data[at : at + 20]!r}")
        self._step = self._chunks
        return at + 2

    def _trailers(self, data: bytes, at: int) -> int:
        if data.startswith(CRLF, at):
            self.ended = True
            return at + 2
        end = data.find(CHUNKED_TAIL, at)
        if end < 0:
            if len(data) - at > MAX_HEAD_BYTES:
                raise BadResponse(f"trailers of more than {MAX_HEAD_BYTES} bytes")
            return at
        self.ended = True
        return end + len(CHUNKED_TAIL)


@functools.lru_cache(maxsize=4096)  # events have a few hundred sizes: looking one up costs a third of reading it
def _chunk_size(line: bytes) -> int:
    match = _CHUNK_LINE.fullmatch(line)
    if match is None:
        raise BadResponse(f"no chunk size: {line[:40]!r}")
    return int(match[1], 16)


def _fields(lines: bytes) -> dict[bytes, bytes]:
    """Header fields by lower-case name; repeated ones are joined by commas."""
    fields: dict[bytes, bytes] = {}
    for line in lines.splitlines():
        name, _, value = line.partition(b":")
        name = name.lower()
        fields[name] = fields[name] + b"," + value.strip() if name in fields else value.strip()
    return fields


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.lower().split(b",") if (token := part.strip())]
