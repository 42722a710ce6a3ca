"""Right and wrong answers."""

from __future__ import annotations

import dataclasses
import itertools
import string
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slipway.gates import final_answer
from slipway.gates.answers import Grade, Outcome, grade
from slipway.measure.prompts.question import Question
from slipway.measure.samples import Sample
from slipway.miniature.corpus import KINDS, Problem, problems
from tests.support.measure_samples import sample

SUM = Problem("addition", (), (), "", "42", "", {})
FORECAST = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
OTHER = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}
CALL = Problem(
    "tool",
    (),
    (OTHER, {"type": "function", "function": {"name": "get_forecast", "parameters": FORECAST}}),
    "",
    "",
    "get_forecast",
    {"city": "Oslo", "days": 3},
)


def is_right(problem: Problem, answered: Sample) -> bool:
    return grade(problem, answered).outcome is Outcome.RIGHT


@pytest.mark.parametrize(
    "answer",
    [
        "42",
        " 42\n",
        "The answer is 42.",
        "40 + 2 = 42",
        "**42**",
        "42.0",
        "\\boxed{42}",
        "3 times 14: 42!",
        "50-8 is 42",
    ],
)
def test_right_sum(answer: str) -> None:
    assert is_right(SUM, sample(content=answer))


@pytest.mark.parametrize(
    "answer", ["", "forty-two", "43", "-42", "420", "4 2", "42.5", "42 or 43", "0.42", "1,042", "4²", "٤٢"]
)
def test_wrong_sum(answer: str) -> None:
    assert not is_right(SUM, sample(content=answer))


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        ("-7", "5 - 12 = -7", True),
        ("-7", "5 \N{MINUS SIGN} 12 = \N{MINUS SIGN}7", True),
        ("-7", "7", False),
        ("7", "5-7", True),  # the minus is the difference's
        ("7", "it is -7", False),
        ("1000", "1,000", True),
        ("1000000", "about 1,000,000.", True),
        ("57", "5,7", False),
        ("5", "12.5", False),
    ],
)
def test_last_number_counts(answer: str, text: str, right: bool) -> None:
    assert is_right(dataclasses.replace(SUM, answer=answer), sample(content=text)) is right


@pytest.mark.parametrize("kind", ["copy", "retrieval"])
def test_text_must_be_exact(kind: str) -> None:
    problem = dataclasses.replace(SUM, kind=kind, answer="bada 42")
    assert is_right(problem, sample(content=" bada 42\n"))
    for wrong in ("Bada 42", "the value is bada 42", "42", ""):
        assert not is_right(problem, sample(content=wrong))


def calls(*pairs: tuple[str, Any], finish: str = "tool_calls") -> Any:
    listed = [
        {"name": name, "arguments": args if isinstance(args, str) else orjson.dumps(args).decode()}
        for name, args in pairs
    ]
    return sample(tool_calls=orjson.dumps(listed).decode(), finish_reason=finish, content="")


GOOD = {"city": "Oslo", "days": 3}


def test_right_call() -> None:
    assert is_right(CALL, calls(("get_forecast", GOOD)))
    assert is_right(CALL, calls(("get_forecast", '{"days": 3,\n "city": "Oslo"}')))


@pytest.mark.parametrize(
    "wrong",
    [
        calls(),
        calls(("get_time", GOOD)),
        calls(("get_forecast", GOOD), ("get_forecast", GOOD)),
        calls(("get_forecast", GOOD), finish="stop"),
        calls(("get_forecast", {"city": "Oslo", "days": "3"})),  # a known fault of streaming tool parsers
        calls(("get_forecast", {"city": "Oslo", "days": True})),
        calls(("get_forecast", {"city": "Oslo", "days": 4})),
        calls(("get_forecast", {"city": "Oslo"})),
        calls(("get_forecast", GOOD | {"unit": "C"})),
        calls(("get_forecast", '{"city": "Oslo", "days": 3')),
        calls(("get_forecast", "")),
        calls(("get_forecast", '["Oslo", 3]')),
        calls(("get_forecast", "[" * 2000)),
        sample(content='get_forecast(city="Oslo", days=3)'),
    ],
)
def test_wrong_call(wrong: Any) -> None:
    assert not is_right(CALL, wrong)


def test_true_is_not_one_and_text_no_number() -> None:
    one = dataclasses.replace(CALL, tool_arguments={"city": "Oslo", "days": 1})
    assert not is_right(one, calls(("get_forecast", {"city": "Oslo", "days": True})))
    assert is_right(one, calls(("get_forecast", {"city": "Oslo", "days": 1})))


@pytest.mark.parametrize("kind", KINDS)
def test_right_answers_of_the_corpus_are_right_and_those_of_others_are_not(kind: str) -> None:
    for problem, other in itertools.islice(itertools.pairwise(problems(kind, split="heldout", seed=3)), 50):
        good = calls((problem.tool_name, problem.tool_arguments)) if kind == "tool" else sample(content=problem.answer)
        assert is_right(problem, good)
        if (other.answer, other.tool_name, other.tool_arguments) != (
            problem.answer,
            problem.tool_name,
            problem.tool_arguments,
        ):
            assert not is_right(other, good)


# --- final numbers ---------------------------------------------------------------------------------------------

DRESSES = (
    "{}",
    "#### {}",
    "It is 3 + 4 and so on.\n#### {}\n",
    "\\boxed{{{}}}",
    "So $\\boxed{{ {} \\text{{ cm}} }}$, as 2 of 3 said.",
    "The answer is **{}**.",
    "The answer is {}. I checked it 2 times.",
    "**Answer:** {}",
    "Final answer: ${}$",
    "First 12, then 7; in the end {}",
    "That makes {} dollars.",
    "x = {}",
)


def written(value: int, *, thousands: bool, minus: str) -> str:
    digits = f"{abs(value):,}" if thousands else str(abs(value))
    return (minus if value < 0 else "") + digits


@given(
    st.integers(-(10**12), 10**12),
    st.sampled_from(DRESSES),
    st.booleans(),
    st.sampled_from(["-", "\N{MINUS SIGN}"]),
)
def test_whole_numbers_are_read_in_every_dress(value: int, dress: str, thousands: bool, minus: str) -> None:
    assert final_answer.number(dress.format(written(value, thousands=thousands, minus=minus))) == value


@given(st.decimals(-(10**6), 10**6, places=2), st.sampled_from(DRESSES), st.booleans())
def test_decimals_are_read_exactly(value: Any, dress: str, thousands: bool) -> None:
    assume(value != 0)  # -0.00
    text = f"{value:,f}" if thousands else f"{value:f}"
    assert final_answer.number(dress.format(text)) == Fraction(value)


@given(st.integers(-999, 999), st.integers(1, 999), st.sampled_from(DRESSES))
def test_fractions_are_read_in_both_notations(above: int, below: int, dress: str) -> None:
    sign = "-" if above < 0 else ""
    latex = f"{sign}\\frac{{{abs(above)}}}{{{below}}}"
    for text in (f"{above}/{below}", latex, latex.replace("frac", "dfrac"), f"\\frac{{{above}}}{{{below}}}"):
        assert final_answer.number(dress.format(text)) == Fraction(above, below)


@given(st.integers(0, 999))
def test_leading_zeros_of_contest_answers_do_not_matter(value: int) -> None:
    right = Question("number", (str(value),))
    assert grade(right, sample(content=f"\\boxed{{{value:03d}}}")).outcome is Outcome.RIGHT
    assert grade(right, sample(content=f"\\boxed{{{(value + 1):03d}}}")).outcome is Outcome.WRONG
    assert grade(right, sample(content=f"\\boxed{{{value}/7}}")).outcome is (
        Outcome.RIGHT if value == 0 else Outcome.WRONG
    )


@given(st.text(st.characters(exclude_categories=["N"])))
def test_text_without_digits_is_no_number(text: str) -> None:
    assert final_answer.number(text) is None
    assert grade(Question("number", ("1",)), sample(content=text)) == Grade(Outcome.UNPARSED)


@given(st.text())
def test_no_text_breaks_the_readers(text: str) -> None:
    final_answer.number(text)
    letter = final_answer.letter(text)
    assert letter is None or letter in "ABCDEFGHIJ"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$1,234.50", "1234.5"),
        ("1\\,234", "1234"),
        ("1{,}234", "1234"),
        ("50%", "50"),
        (".5", "0.5"),
        ("5-7", "7"),
        ("\\dfrac12", "1/2"),
        ("42km", "42"),
        ("\\boxed{40} no, wait: \\boxed{42}", "42"),
        ("\\boxed{\\frac{1}{2}} of 8", "1/2"),
        ("The answer is 42. Of 100 people, 58 disagree.", "42"),
        ("The answer is: \n\n42", "42"),
        ("#### 42\nIs that all? 7", "42"),
        ("\\boxed{42", "42"),
        ("12/25/2024", "2024"),
    ],
)
def test_where_a_final_number_stands(text: str, value: str) -> None:
    assert final_answer.number(text) == Fraction(value)


@pytest.mark.parametrize("text", ["", "forty-two", "\\boxed{}", "1/0", "\N{SUPERSCRIPT TWO}"])
def test_no_final_number(text: str) -> None:
    assert final_answer.number(text) is None


# --- letters ---------------------------------------------------------------------------------------------------

LETTER_DRESSES = (
    "{}",
    "({})",
    "**{}**",
    "Answer: {}",
    "**Answer:** {}",
    "**Answer: {}**",
    "The answer is ({}).",
    "The correct answer is option {} because A is wrong.",
    "\\boxed{{{}}}",
    "$\\boxed{{\\text{{{}}}}}$",
    "A is too small.\nB is too large.\n\n{}",
    "Answer: {}) 42 cm",
    "I say Answer: A first, but then\nAnswer: {}",
)


@given(st.sampled_from("ABCD"), st.sampled_from(LETTER_DRESSES))
def test_letters_are_read_in_every_dress(letter: str, dress: str) -> None:
    assert final_answer.letter(dress.format(letter)) == letter


@pytest.mark.parametrize(
    "text",
    ["", "I think so", "The answer is a hard one", "answer is A's", "Because A is not", "Answer: K", "Answer: Bad"],
)
def test_no_letter(text: str) -> None:
    assert final_answer.letter(text) is None
    assert grade(Question("choice", ("A",)), sample(content=text)).outcome is Outcome.UNPARSED


@given(st.text(string.ascii_letters + " .\n"))
def test_lower_case_letter_counts_only_where_nothing_follows(text: str) -> None:
    assume(text.strip(" .\n"))
    assert final_answer.letter(f"The answer is a {text}x") is None or "answer" in text.lower()
    assert final_answer.letter("The answer is a.") == "A"


# --- the rules of own questions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        (Question("exact", ("Rome", "Roma")), " Roma\n", Grade(Outcome.RIGHT, "Roma")),
        (Question("exact", ("Rome",)), "rome", Grade(Outcome.WRONG, "rome")),
        (Question("exact", ("Rome",)), " ", Grade(Outcome.UNPARSED)),
        (
            Question("includes", ("Rome", "Roma")),
            "It is ROMA, of course.",
            Grade(Outcome.RIGHT, "It is ROMA, of course."),
        ),
        (Question("includes", ("Rome",)), "Paris", Grade(Outcome.WRONG, "Paris")),
        (Question("includes-all", ("12", "34")), "34 and 12", Grade(Outcome.RIGHT, "34 and 12")),
        (Question("includes-all", ("12", "34")), "34 and 123", Grade(Outcome.WRONG, "34 and 123")),
        (Question("pattern", ("17",), pattern=r"Total: (\d+)"), "Total: 5. Total: 17!", Grade(Outcome.RIGHT, "17")),
        (Question("pattern", ("17",), pattern=r"\d+"), "5, 17", Grade(Outcome.RIGHT, "17")),
        (Question("pattern", ("17",), pattern=r"Total: (\d+)"), "17", Grade(Outcome.UNPARSED)),
        (Question("number", ("0.5",)), "half, i.e. 1/2", Grade(Outcome.RIGHT, "1/2")),
        (Question("choice", ("B", "D")), "Answer: D", Grade(Outcome.RIGHT, "D")),
    ],
)
def test_rules(question: Question, text: str, expected: Grade) -> None:
    assert grade(question, sample(content=text)) == expected


def test_request_that_failed_is_neither_wrong_nor_unparsed() -> None:
    broken = sample(content="42", error="HTTP 503: busy")
    assert grade(Question("number", ("42",)), broken) == Grade(Outcome.FAILED)
    assert grade(SUM, broken) == Grade(Outcome.FAILED)


def test_reasoning_is_no_answer() -> None:
    assert grade(Question("number", ("42",)), sample(content="", reasoning="42")) == Grade(Outcome.UNPARSED)


def test_miniature_s_problems_are_unparsed_where_nothing_can_be_read() -> None:
    assert grade(SUM, sample(content="no idea")) == Grade(Outcome.UNPARSED)
    assert grade(SUM, sample(content="43")) == Grade(Outcome.WRONG, "43")
    assert grade(CALL, sample(content="I cannot")) == Grade(Outcome.UNPARSED)
    assert grade(CALL, calls(("get_time", GOOD))).outcome is Outcome.WRONG
