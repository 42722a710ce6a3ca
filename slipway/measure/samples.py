"""Samples: what one request gave, made of its bytes; kept as Parquet before anything is judged."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from slipway.errors import Corrupt
from slipway.garbage import uncollected
from slipway.measure.exchange import Exchange
from slipway.measure.stream import EMPTY_ANSWER, Answer, read_stream

__all__ = ["EMPTY_ANSWER", "Sample", "about", "from_parquet", "parse", "parse_all", "to_parquet"]

_BEGINNING = 300
"""So many bytes of an error's body are quoted."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request as observed.

    `sent_s` and `intended_s` are on the clock of the measuring process (`time.perf_counter()`); all other times
    are seconds after `sent_s`. Lists hold one entry an event: a delta that carries text of any kind or part of a
    tool call. Role, finish and usage chunks are none.

    Attributes:
        workload: Name of the workload.
        request_id: Id within the workload.
        block: Round of the run that it belongs to, from 0.
        intended_s: When the schedule wanted it sent; in a closed loop, when its stream became free.
        sent_s: When its first byte was sent, on an open connection.
        connect_s: What opening the connection took, 0 where it was kept alive.
        e2e_s: From send to the last event; to the failure, where it failed.
        event_s: Arrival of each event.
        event_tokens: Output tokens up to and including each event, counted by the server; empty unless it counts
            them at every event.
        answer_s: Arrival of the first event that is more than reasoning; None if there was none.
        reasoning: Text of the reasoning.
        content: Text of the answer.
        tool_calls: JSON list of `{"name": …, "arguments": "<JSON text>"}`.
        finish_reason: The server's, empty where the stream did not end properly.
        prompt_tokens: By usage, 0 without.
        completion_tokens: By usage, 0 without.
        cached_tokens: Prompt tokens that came from the prefix cache; None where the server does not say.
        release_id: Release that the stream says has answered, empty where it does not say.
        accepted_drafts: Drafts that were accepted; None where the server does not say.
        verify_steps: Verify steps of speculative decoding; None where the server does not say.
        queue_s: Time in the server's queue; None where the server does not say.
        error: Why the request does not count as served, empty if it does.
    """

    workload: str
    request_id: str
    block: int
    intended_s: float
    sent_s: float
    connect_s: float
    e2e_s: float
    event_s: tuple[float, ...]
    event_tokens: tuple[int, ...]
    answer_s: float | None
    reasoning: str
    content: str
    tool_calls: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    release_id: str
    accepted_drafts: int | None
    verify_steps: int | None
    queue_s: float | None
    error: str


def parse(workload: str, exchange: Exchange, *, block: int = 0) -> Sample:
    """Make a sample of one exchange. Whatever is wrong with it ends in `Sample.error`.

    Args:
        workload: Name of the workload.
        exchange: What went over the wire.
        block: Round of the run that it belongs to.
    """
    answer = read_stream(exchange.reads) if exchange.status == 200 else Answer()
    if exchange.status in {0, 200}:
        error = exchange.error or answer.complaint
    else:
        error = f"HTTP {exchange.status}: {_beginning(exchange)}"
    begin_s = exchange.sent_s
    end_s = answer.event_s[-1] if answer.event_s and not error else exchange.ended_s
    return Sample(
        workload=workload,
        request_id=exchange.request_id,
        block=block,
        intended_s=exchange.intended_s,
        sent_s=begin_s,
        connect_s=exchange.connect_s,
        e2e_s=end_s - begin_s,
        event_s=tuple([at_s - begin_s for at_s in answer.event_s]),
        event_tokens=tuple(answer.event_tokens) if all(answer.event_tokens) else (),
        answer_s=None if answer.answer_s is None else answer.answer_s - begin_s,
        reasoning="".join(answer.reasoning),
        content="".join(answer.content),
        tool_calls=orjson.dumps([answer.calls[index] for index in sorted(answer.calls)]).decode(),
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        cached_tokens=answer.cached_tokens,
        release_id=answer.release_id,
        accepted_drafts=answer.accepted_drafts,
        verify_steps=answer.verify_steps,
        queue_s=answer.queue_s,
        error=error,
    )


def parse_all(workload: str, exchanges: Iterable[Exchange], *, block: int = 0) -> list[Sample]:
    """Make a sample of each exchange; arguments as for `parse`."""
    with uncollected():  # a tenth of the time
        return [parse(workload, exchange, block=block) for exchange in exchanges]


def _beginning(exchange: Exchange) -> str:
    return b"".join(data for _, data in exchange.reads)[:_BEGINNING].decode("utf-8", "replace")


_TYPES: Final = {
    "str": (pa.string(), False),
    "int": (pa.int64(), False),
    "float": (pa.float64(), False),
    "int | None": (pa.int64(), True),
    "float | None": (pa.float64(), True),
    "tuple[float, ...]": (pa.list_(pa.field("item", pa.float64(), nullable=False)), False),
    "tuple[int, ...]": (pa.list_(pa.field("item", pa.int64(), nullable=False)), False),
}
SCHEMA: Final = pa.schema([pa.field(f.name, *_TYPES[str(f.type)]) for f in fields(Sample)])
"""Fixed, so that a file of one sample, or of none, has the types of any other."""

_LISTS: Final = tuple(f.name for f in fields(Sample) if str(f.type).startswith("tuple"))
_ABOUT: Final = b"slipway.about"


def to_parquet(samples: Sequence[Sample], *, about: Mapping[str, str] | None = None) -> bytes:
    """The samples as one Parquet file with checksums.

    Args:
        samples: What was observed.
        about: What belongs to all of them, as text by name: the client's quality, counters, the workload's digest.
    """
    columns = [_column(f, [getattr(sample, f.name) for sample in samples]) for f in SCHEMA]
    schema = SCHEMA.with_metadata({_ABOUT: orjson.dumps(dict(about or {}), option=orjson.OPT_SORT_KEYS)})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), buffer, write_page_checksum=True)
    return buffer.getvalue()


def _column(kind: pa.Field, values: list[Any]) -> pa.Array:
    if kind.name not in _LISTS:
        return pa.array(values, kind.type)
    # Built from its parts: a list of tuples would be looked at item by item, at ten times the cost.
    ends = np.cumsum([0, *(len(row) for row in values)], dtype=np.int32)
    dtype = np.float64 if pa.types.is_floating(kind.type.value_type) else np.int64
    items = np.fromiter(itertools.chain.from_iterable(values), dtype, int(ends[-1]))
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(items), type=kind.type)


def from_parquet(data: bytes) -> list[Sample]:
    """Samples that `to_parquet` stored.

    Raises:
        Corrupt: If the bytes are damaged, no such file, or of another version of Slipway.
    """
    table = _read(data)
    if not table.schema.equals(SCHEMA, check_metadata=False):
        odd = sorted(set(table.schema.names) ^ set(SCHEMA.names))
        raise _corrupt(f"the columns are others{' (' + ', '.join(odd) + ')' if odd else ''}")
    try:
        columns = [[tuple(row) for row in values] if name in _LISTS else values for name, values in _values(table)]
    except (pa.ArrowException, ValueError) as error:
        raise _corrupt(error) from None
    return [Sample(*row) for row in zip(*columns, strict=True)]


def about(data: bytes) -> dict[str, str]:
    """What `to_parquet` was told about all samples of a file.

    Raises:
        Corrupt: If the bytes are damaged, or no such file.
    """
    try:
        told = orjson.loads((_read(data).schema.metadata or {})[_ABOUT])
    except (KeyError, orjson.JSONDecodeError):
        raise _corrupt("it does not say what it is about") from None
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise _corrupt("what it says about itself is no text by name")
    return told


def _values(table: pa.Table) -> Iterator[tuple[str, list[Any]]]:
    return ((name, table.column(name).to_pylist()) for name in SCHEMA.names)


def _read(data: bytes) -> pa.Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)  # `read_table` imports pandas
        table = file.read(use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _corrupt(error) from None
    return table


def _corrupt(why: object) -> Corrupt:
    return Corrupt(
        f"The samples cannot be read: {why}.",
        remedy="Measure again; the file is damaged, not Slipway's, or written by another version of it.",
    )
