"""The questions of a workload as they were asked, kept with the evidence.

Where questions come from a file, a dataset or one's own, the file may be elsewhere, or another one, when a verdict is
made again. So what was asked is stored beside what was answered, with the right answers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from slipway.errors import Corrupt
from slipway.files import write_atomic
from slipway.measure.prompts.question import Question
from slipway.measure.workload import ChatRequest
from slipway.miniature.corpus import Problem

QUESTIONS_FOLDER: Final = "questions"
_COLUMNS: Final = ("request_id", "messages", "question")
_SCHEMA: Final = pa.schema([pa.field(name, pa.string(), nullable=False) for name in _COLUMNS])


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked.

    Attributes:
        messages: The conversation.
        problem: The right answer; None where there is none.
    """

    messages: tuple[Mapping[str, Any], ...]
    problem: Problem | Question | None

    @classmethod
    def of(cls, request: ChatRequest) -> Asked:
        """What a request of a workload asks."""
        return cls(tuple(request.body["messages"]), request.problem)

    def item(self, request_id: str) -> str:
        """Which question it is: the same for each time that it is asked."""
        return (self.problem.item if isinstance(self.problem, Question) else "") or request_id


def save_questions(folder: Path, workload: str, requests: Iterable[ChatRequest]) -> None:
    """Store what a workload asks."""
    rows = [(r.request_id, _json(r.body["messages"]), _json(_as_dict(r.problem))) for r in requests]
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    buffer = io.BytesIO()
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    (folder / QUESTIONS_FOLDER).mkdir(parents=True, exist_ok=True)
    write_atomic(folder / QUESTIONS_FOLDER / f"{workload}.parquet", buffer.getvalue())


def read_questions(data: bytes) -> dict[str, Asked]:
    """What `save_questions` stored, by request id.

    Raises:
        Corrupt: If it cannot be read.
    """
    try:
        table = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True).read(use_threads=False)
        return {row["request_id"]: _asked(row) for row in table.to_pylist()}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"The stored questions cannot be read: {error}.", remedy="Measure again.") from None


def _as_dict(problem: Problem | Question | None) -> dict[str, Any] | None:
    """Only questions come from files; the miniature's problems are made by code."""
    return asdict(problem) if isinstance(problem, Question) else None


def _asked(row: Mapping[str, str]) -> Asked:
    stored = orjson.loads(row["question"])
    question = Question(**(stored | {"answers": tuple(stored["answers"])})) if stored else None
    return Asked(tuple(orjson.loads(row["messages"])), question)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
