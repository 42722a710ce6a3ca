"""How conformance checks judge: on what a real SGLang answered, and on what could come."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.measure.conformance.answer import Answer, Call, Usage, from_body, from_stream, message_of, payloads
from slipway.measure.conformance.arguments import calls_fault, type_fault
from slipway.measure.conformance.keys import told
from slipway.measure.conformance.models import listed_names
from slipway.measure.conformance.probe import Broken, NotOffered, Unanswered
from slipway.measure.conformance.reasoning import leak
from slipway.measure.conformance.refusals import refusal_fault
from slipway.measure.conformance.session import CHAT, Reply
from slipway.measure.conformance.streams import content_type_fault, done_fault, text_fault
from slipway.measure.conformance.tools import first_calls, sound_calls
from slipway.measure.conformance.usage import running_fault, sum_fault

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECORDED = FIXTURES / "sglang"
WEATHER_SCHEMA = {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "now": {"type": "boolean"}}}


def recorded(path: Path) -> Reply:
    """A recorded exchange as the checks see it."""
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    asked = about["request"]["body"]
    return Reply(
        method=about["request"]["method"],
        path=about["request"]["path"],
        asked=asked if isinstance(asked, dict) else None,
        status=about["status"],
        headers=tuple((name.lower(), value) for name, value in about["headers"]),
        body=path.with_suffix(".body").read_bytes(),
    )


def sglang(name: str) -> Reply:
    return recorded(RECORDED / name)


ALL = {path.stem: recorded(path) for path in sorted(RECORDED.glob("*.json"))}
ODD = {"chat_n2", "chat_tools_required", "cut_stream"}
"""Two answers in one; a call that the server garbled; a stream that its client left."""

CHATS = {name: reply for name, reply in ALL.items() if reply.path == CHAT and reply.status == 200 and name not in ODD}
STREAMS = {name: reply for name, reply in CHATS.items() if reply.streamed}
REFUSALS = {name: reply for name, reply in ALL.items() if name.startswith("err_") and name != "err_model"}
UNSPLIT = {"chat_noreasoning_split", "chat_ignore_eos"}
"""Recorded with `separate_reasoning: false`, as a server without a parser answers; and driven past its end."""


def test_there_is_something_to_judge():
    assert (len(CHATS), len(STREAMS), len(REFUSALS)) >= (15, 4, 5)


def test_a_recorded_stream_says_what_the_whole_answer_said():
    whole, streamed = sglang("chat").answer(), sglang("chat_stream").answer()
    assert whole.weight_version == "default"
    parts = [(each.content, each.reasoning, each.calls, each.finish_reason, each.usage) for each in (whole, streamed)]
    assert parts[0] == parts[1]
    assert parts[0][0] == "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def test_recorded_calls_are_the_same_streamed_and_whole():
    whole, streamed = sound_calls(sglang("chat_tools").answer()), sound_calls(sglang("chat_tools_stream").answer())
    assert [call.parsed() for call in whole] == [{"city": "Paris"}]
    assert calls_fault(whole, streamed) == ""
    assert whole[0].call_id != streamed[0].call_id


@pytest.mark.parametrize("reply", CHATS.values(), ids=CHATS)
def test_recorded_counts_add_up(reply):
    answer = reply.answer()
    if answer.usage:
        assert sum_fault(answer.usage, reply.asked["max_tokens"]) == ""
    assert running_fault(answer) == ""


@pytest.mark.parametrize("name", CHATS)
def test_markers_of_thoughts_stand_only_where_no_parser_was_used(name):
    assert bool(leak(CHATS[name].answer())) == (name in UNSPLIT)


@pytest.mark.parametrize("reply", STREAMS.values(), ids=STREAMS)
def test_recorded_streams_end_and_are_typed_as_they_should(reply):
    assert (done_fault(reply), content_type_fault(reply)) == ("", "")


def test_a_recorded_stream_that_was_cut_has_no_end():
    assert "without [DONE]" in done_fault(sglang("cut_stream"))


@pytest.mark.parametrize("reply", REFUSALS.values(), ids=REFUSALS)
def test_recorded_refusals_are_refusals(reply):
    assert refusal_fault(reply.status, reply.body) == ""


def test_the_recorded_fault_of_a_demanded_call_is_found():
    """With a grammar in force the real server left the markup in the text, and gave no call."""
    with pytest.raises(Broken, match="content holds the markup of a tool call"):
        sound_calls(sglang("chat_tools_required").answer())


def test_the_recorded_list_of_models_is_read():
    assert listed_names(sglang("v1_models")) == ["glm-5.1-fp8"]
    with pytest.raises(Broken, match="expected a list of models, got HTTP 404"):
        listed_names(sglang("notfound"))


def test_running_counts_of_a_recorded_stream():
    answer = sglang("chat_stream_continuous_usage").answer()
    assert [usage.completion_tokens for usage in answer.running] == [1, 4, 8, 12]
    assert answer.usage.completion_tokens == 12


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"object": "error", "message": "too long", "code": 400}', "too long"),
        (b'{"error": {"message": "no such model"}}', "no such model"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"detail": "Not Found"}', ""),
        (b"[]", ""),
        (b"nginx", ""),
    ],
)
def test_messages_of_errors(body, message):
    assert message_of(body) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_fault(data):
    for read in (from_body, from_stream):
        with contextlib.suppress(Broken):
            assert isinstance(read(data), Answer)


def test_events_end_in_either_way_and_may_have_comments():
    assert payloads(b": ping\r\n\r\ndata: 1\r\n\r\nevent: x\ndata:2\n\n") == [b"1", b"2"]


def test_calls_without_an_index_are_told_apart():
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    body = {"choices": [{"message": {"tool_calls": [call, call | {"id": "b"}]}, "finish_reason": "tool_calls"}]}
    assert [each.call_id for each in from_body(json.dumps(body).encode()).calls] == ["a", "b"]


def test_what_a_server_says_it_does_not_support_is_not_broken():
    said = Reply("POST", CHAT, {"tools": []}, 400, (), b'{"message": "auto requires --tool-call-parser"}')
    with pytest.raises(NotOffered, match="--tool-call-parser"):
        said.answer()
    with pytest.raises(Broken, match="HTTP 400"):
        Reply("POST", CHAT, {}, 400, (), b'{"message": "bad"}').answer()


# --- texts -------------------------------------------------------------------------------------------------------

WORDS = st.text("abcd ", min_size=1, max_size=20)


@given(WORDS, WORDS, WORDS)
def test_a_piece_left_out_is_a_drop(before, piece, after):
    fault = text_fault(before + piece + after, before + after)
    assert fault.startswith("the stream dropped")


@given(WORDS, WORDS, WORDS)
def test_a_piece_said_twice_is_doubled(before, piece, after):
    fault = text_fault(before + piece + after, before + piece + piece + after)
    assert fault.startswith("the stream doubled")


@given(WORDS, st.integers(0, 19))
def test_other_differences_are_shown(text, place):
    place %= len(text)
    assert text_fault(text, f"{text[:place]}X{text[place + 1 :]}").startswith("the stream says")
    assert text_fault(text, text) == ""


@pytest.mark.parametrize(
    ("usage", "limit", "fault"),
    [
        (Usage(11, 5, 16), 5, ""),
        (Usage(11, 5, 15), 5, "do not add up"),
        (Usage(11, 6, 17), 5, "6 completion tokens where max_tokens is 5"),
        (Usage(0, 5, 5), None, "below what can be"),
    ],
)
def test_sums_of_counts(usage, limit, fault):
    assert fault in sum_fault(usage, limit)
    assert bool(fault) == bool(sum_fault(usage, limit))


def test_running_counts_rise_to_the_total():
    def counts(*numbers: int) -> tuple[Usage, ...]:
        return tuple(Usage(1, n, n + 1) for n in numbers)

    assert running_fault(Answer(running=counts(1, 4, 4), usage=counts(5)[0])) == ""
    assert "fall from 4 to 3" in running_fault(Answer(running=counts(1, 4, 3), usage=counts(5)[0]))
    assert "reach 4, but the total is 3" in running_fault(Answer(running=counts(1, 4), usage=counts(3)[0]))


# --- tools -------------------------------------------------------------------------------------------------------


def called(arguments: str = '{"city": "Paris"}', **more: object) -> Answer:
    return Answer(**({"calls": (Call("1", "f", arguments),), "finish_reason": "tool_calls"} | more))


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (called("{city: 1}"), "no JSON"),
        (called(""), "no JSON"),
        (called("null"), "expected a JSON object"),
        (called("[]"), "expected a JSON object"),
        (called(calls=()), "there is no call"),
        (called(content="a <arg_key>city"), "content holds the markup"),
        (called(reasoning="<tool_call>f"), "reasoning_content holds the markup"),
        (called(content="x</think>y"), "content holds </think>"),
    ],
)
def test_garbled_calls(answer, fault):
    with pytest.raises(Broken, match=fault):
        sound_calls(answer)


def test_a_call_that_was_cut_off_is_no_fault():
    assert sound_calls(called('{"ci', finish_reason="length")) == ()


def test_a_model_that_does_not_call_is_told_from_a_server_that_garbles():
    with pytest.raises(Unanswered, match="did not call in 2 tries"):
        first_calls([Answer(content="It rains."), Answer(content="It rains.")])
    with pytest.raises(Broken):
        first_calls([Answer(content="It rains."), called("{")])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"city": "Paris", "days": 3, "now": True}, ""),
        ({"days": "3"}, "days is declared integer, but came as str"),
        ({"days": "three"}, ""),  # the model's word, which no parser can make a number
        ({"days": True}, "came as bool"),
        ({"days": 3.5}, "came as float"),
        ({"now": "true"}, "now is declared boolean, but came as str"),
        ({"now": "True"}, "now is declared boolean, but came as str"),
        ({"now": 1}, "came as int"),
        ({"city": 75001}, "city is declared string, but came as int"),
        ({"unheard": 1}, ""),
    ],
)
def test_types_of_arguments(arguments, fault):
    assert fault in type_fault(arguments, WEATHER_SCHEMA)
    assert bool(fault) == bool(type_fault(arguments, WEATHER_SCHEMA))


def test_arguments_are_compared_by_type_too():
    one = [Call("1", "f", '{"n": 1}')]
    assert calls_fault(one, [Call("2", "f", '{ "n":1}')]) == ""
    for other in ('{"n": "1"}', '{"n": true}', '{"n": 1.0}', "{}"):
        assert "streamed:" in calls_fault(one, [Call("2", "f", other)])
    assert "no call" in calls_fault(one, [])


# --- keys --------------------------------------------------------------------------------------------------------


def test_places_of_a_key_are_named_and_the_key_is_not():
    info = Reply("GET", "/server_info", None, 200, (("x-key", "Bearer sk-123456"),), b'{"api_key": "sk-123456"}')
    places = told("sk-123456", [info, info, Reply("GET", "/health", None, 200, (), b"")])
    assert places == ["GET /server_info, body (HTTP 200)", "GET /server_info, header x-key (HTTP 200)"]
