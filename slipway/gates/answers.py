"""Whether an answer is right: by the rule of its question, exact for the miniature's problems, by schema for calls.

An answer in which nothing can be read, no number where one was asked for, is counted apart: a wrong answer speaks of
the model, a missing one more often of the parser, the template or the length.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

import jsonschema
import orjson

from slipway.errors import Misconfigured
from slipway.gates import final_answer
from slipway.gates.case import Case
from slipway.gates.looks import extended
from slipway.gates.questions import Asked
from slipway.measure.prompts.catalogue import SETS
from slipway.measure.prompts.question import Question, Rule
from slipway.measure.samples import Sample
from slipway.measure.workload import build
from slipway.miniature.corpus import Problem
from slipway.profile import Workload

_NUMBER: Final = re.compile(r"(?<![\d.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", re.ASCII)
"""A number as people write it; the minus of `5-7` belongs to the difference, not to the 7."""


class Outcome(StrEnum):
    """What became of a question."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPARSED = "unparsed"  # answered, but without anything that could be right or wrong
    FAILED = "failed"  # the request was not served


@dataclass(frozen=True, slots=True)
class Grade:
    """A graded answer.

    Attributes:
        outcome: What became of the question.
        answer: The answer as it was read; empty where there was none.
    """

    outcome: Outcome
    answer: str = ""


def right_by_id(case: Case) -> dict[str, bool]:
    """Which questions of a workload were answered rightly, by request id.

    Raises:
        Misconfigured: If a sample answers no request of the workload, or the workload has no right answers.
    """
    return {request_id: grade.outcome is Outcome.RIGHT for request_id, grade in grades_by_id(case).items()}


def grades_by_id(case: Case) -> dict[str, Grade]:
    """What became of each question of a workload, by request id.

    Raises:
        Misconfigured: If a sample answers no request of the workload, or the workload has no right answers.
    """
    asked = asked_by_id(case)
    grades = {}
    for sample in case.samples:
        if (request := asked.get(sample.request_id)) is None or request.problem is None:
            raise Misconfigured(
                f"Workload {case.name!r} knows no right answer to {sample.request_id!r}.",
                remedy="Judge samples with the profile they were measured with; without answers there is no accuracy.",
            )
        grades[sample.request_id] = grade(request.problem, sample)
    return grades


def asked_by_id(case: Case) -> Mapping[str, Asked]:
    """What each request of a workload asked: stored with the evidence where it came from a file, else made again."""
    if SETS[case.workload.prompts].from_files:
        return case.evidence.questions.get(case.name, {})
    return _made(case.name, extended(case.workload))


@functools.lru_cache(maxsize=8)  # gate after gate asks for the same
def _made(name: str, workload: Workload) -> Mapping[str, Asked]:
    return {request.request_id: Asked.of(request) for request in build(name, workload)}


def grade(problem: Problem | Question, sample: Sample) -> Grade:
    """Judge one answer. A request that was not served whole is `FAILED`, whatever came before it broke."""
    if sample.error:
        return Grade(Outcome.FAILED)
    if isinstance(problem, Question):
        return _READERS[problem.rule](problem, sample.content.strip())
    return _grade_problem(problem, sample)


def is_right_call(problem: Problem, sample: Sample) -> bool:
    """Whether exactly the right tool was called, with arguments valid by its schema and equal to the right ones."""
    calls = orjson.loads(sample.tool_calls)
    if len(calls) != 1 or calls[0]["name"] != problem.tool_name or sample.finish_reason != "tool_calls":
        return False
    tools: Sequence[Any] = problem.tools  # OpenAI's schema: functions with their parameters
    schema = next(t["function"]["parameters"] for t in tools if t["function"]["name"] == problem.tool_name)
    try:
        arguments = orjson.loads(calls[0]["arguments"])
    except orjson.JSONDecodeError:
        return False
    return jsonschema.Draft202012Validator(schema).is_valid(arguments) and bool(arguments == problem.tool_arguments)


def _grade_problem(problem: Problem, sample: Sample) -> Grade:
    """Right is the right final answer, white space at its ends aside.

    For arithmetic a larger model may wrap the number in words: the last number of the answer counts.
    """
    if problem.kind == "tool":
        answer = "" if sample.tool_calls == "[]" else sample.tool_calls
        return _graded(answer or None, right=is_right_call(problem, sample))
    answer = sample.content.strip()
    if answer == problem.answer.strip():
        return Grade(Outcome.RIGHT, answer)
    if problem.kind in {"addition", "subtraction"}:
        number = _last_number(answer)
        return _graded(None if number is None else str(number), right=number == Decimal(problem.answer))
    return _graded(answer or None, right=False)


def _graded(answer: str | None, *, right: bool) -> Grade:
    if answer is None:
        return Grade(Outcome.UNPARSED)
    return Grade(Outcome.RIGHT if right else Outcome.WRONG, answer)


def _exact(question: Question, text: str) -> Grade:
    return _graded(text or None, right=text in {answer.strip() for answer in question.answers})


def _number(question: Question, text: str) -> Grade:
    found = final_answer.number(text)
    return _graded(None if found is None else str(found), right=found in {Fraction(a) for a in question.answers})


def _choice(question: Question, text: str) -> Grade:
    found = final_answer.letter(text)
    return _graded(found, right=found in question.answers)


def _pattern(question: Question, text: str) -> Grade:
    """The last match counts, as the last number does."""
    matches = list(re.finditer(question.pattern, text))
    found = (matches[-1].group(1 if matches[-1].re.groups else 0) or "").strip() if matches else None
    return _graded(found, right=found in question.answers)


def _includes(question: Question, text: str) -> Grade:
    return _graded(text or None, right=any(answer.casefold() in text.casefold() for answer in question.answers))


def _includes_all(question: Question, text: str) -> Grade:
    """As whole words, so that a longer number holds no shorter one."""
    held = [re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None for answer in question.answers]
    return _graded(text or None, right=all(held))


_READERS: Final[Mapping[Rule, Callable[[Question, str], Grade]]] = {
    "exact": _exact,
    "number": _number,
    "choice": _choice,
    "pattern": _pattern,
    "includes": _includes,
    "includes-all": _includes_all,
}


def _last_number(text: str) -> Decimal | None:
    numbers = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    return Decimal(numbers[-1].replace(",", "")) if numbers else None
