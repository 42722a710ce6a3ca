"""The server double: written as SGLang was recorded, healthy by default, and as bad as its knobs say."""

from __future__ import annotations

import itertools
import json
import re
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import orjson
import pytest

from slipway.measure.conformance.answer import from_stream, payloads
from slipway.miniature.corpus import KINDS, Problem, problems
from tests.support.knob_answers import answer
from tests.support.knob_plan import MOST_PER_STEP, Pace, Shares, Timing, Token, tokens
from tests.support.knob_server import serving
from tests.support.knobs import Knobs

pytestmark = pytest.mark.slow

LABEL = re.compile(r"(\w+)=")
RECORDED = Path(__file__).parents[1] / "fixtures" / "sglang"
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def body(text: str = "What is 27 + 45?", **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 400, "temperature": 0} | more


def asked(problem: Problem, **more: object) -> dict[str, object]:
    tools = {"tools": list(problem.tools)} if problem.tools else {}
    return {"messages": list(problem.messages), "max_tokens": 400} | tools | more


def some(kind: str, count: int) -> list[Problem]:
    return list(itertools.islice(problems(kind, split="heldout", seed=5), count))


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving() as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as made:
        yield made


def post(client: httpx.Client, request: dict[str, object]) -> httpx.Response:
    return client.post("/v1/chat/completions", json=request)


def counters(client: httpx.Client) -> dict[str, float]:
    lines = (line for line in client.get("/metrics").text.splitlines() if line.startswith("sglang:"))
    return {re.split(r"[{ ]", line)[0]: float(line.rpartition(" ")[2]) for line in lines}


def shape(value: object) -> object:
    """The keys of a JSON tree in their order; of a list, the shapes that occur in it."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shape(member) for member in value]
    return ...


def same_shape(made: object, recorded: object) -> bool:
    return json.dumps(shape(made), default=str) == json.dumps(shape(recorded), default=str)


# --- as recorded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("chat", body("Repeat: abc")),
        ("chat_nothink", body("Repeat: abc", chat_template_kwargs={"enable_thinking": False})),
        ("chat_length", body("Repeat: abc", max_tokens=3)),
        ("chat_tools", body("What is the weather in Paris?", tools=[WEATHER])),
    ],
)
def test_whole_answers_look_as_recorded(client, name, request_):
    recorded = json.loads((RECORDED / f"{name}.body").read_bytes())
    made = post(client, request_).json()
    # What is null in one answer and a text in another has one shape.
    for each in (made, recorded):
        message = each["choices"][0]["message"]
        message["tool_calls"] = bool(message["tool_calls"])
        each["usage"]["prompt_tokens_details"] = None
    assert same_shape(made, recorded)
    assert made["choices"][0]["finish_reason"] == recorded["choices"][0]["finish_reason"]


def kinds_of_events(data: bytes) -> list[str]:
    """The shapes of a stream's events, runs of the same one once."""
    events = [json.loads(payload) for payload in payloads(data)[:-1]]
    for event in events:
        if event.get("usage"):
            event["usage"]["prompt_tokens_details"] = None
    return [key for key, _ in itertools.groupby(json.dumps(shape(event), default=str) for event in events)]


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("chat_stream", body("Repeat: abcdefghijk", stream_options={"include_usage": True})),
        ("chat_stream_nousage", body("Repeat: abc", max_tokens=12)),
        (
            "chat_stream_continuous_usage",
            body("Repeat: abc", max_tokens=12, stream_options={"include_usage": True, "continuous_usage_stats": True}),
        ),
        ("chat_nothink_stream", body("Repeat: abc", chat_template_kwargs={"enable_thinking": False})),
        (
            "chat_tools_stream",
            body(
                "What is the weather in Paris?",
                tools=[WEATHER],
                tool_choice="required",
                stream_options={"include_usage": True},
            ),
        ),
    ],
)
def test_streams_look_as_recorded(client, name, request_):
    recorded = (RECORDED / f"{name}.body").read_bytes()
    response = post(client, request_ | {"stream": True})
    assert kinds_of_events(response.content) == kinds_of_events(recorded)
    assert payloads(response.content)[-1] == b"[DONE]"
    about = json.loads((RECORDED / f"{name}.json").read_bytes())
    assert response.headers["content-type"] == dict(about["headers"])["content-type"]


def test_errors_models_and_info_look_as_recorded(client):
    too_long = post(client, body("x" * 20_000))
    assert too_long.status_code == 400
    assert same_shape(too_long.json(), json.loads((RECORDED / "err_toolong.body").read_bytes()))
    assert same_shape(client.get("/v1/models").json(), json.loads((RECORDED / "v1_models.body").read_bytes()))
    post(client, body())
    info, recorded = client.get("/server_info").json(), json.loads((RECORDED / "server_info_1.body").read_bytes())
    assert recorded.keys() <= info.keys()
    assert recorded["internal_states"][0].keys() - {"avg_spec_accept_length"} <= info["internal_states"][0].keys()


def test_metrics_have_the_recorded_names_and_labels(client):
    def series(text: str) -> set[str]:
        """Names with the names of their labels."""
        names = re.findall(r"^(sglang:\w+)\{(.*)\} ", text, re.MULTILINE)
        return {f"{name} {sorted(LABEL.findall(labels))}" for name, labels in names}

    post(client, body())
    made, recorded = series(client.get("/metrics").text), series((RECORDED / "metrics_1.body").read_text())
    newer = {"sglang:spec_verify_calls_total", "sglang:num_aborted_requests_total"}  # not in the recorded release
    assert {each for each in made - recorded if each.split()[0] not in newer} == set()


# --- what is said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_double_solves_the_corpus(kind):
    for problem in some(kind, 200):
        said = answer(Knobs(), asked(problem))
        if problem.tool_name:
            assert said.calls == ((problem.tool_name, problem.tool_arguments),)
        else:
            assert said.content == problem.answer, problem.messages


def test_the_share_of_right_answers_is_the_knobs_and_wrong_ones_are_nested():
    listed = [*some("addition", 600), *some("copy", 600), *some("tool", 600)]

    def right(**knobs: object) -> set[int]:
        made = [answer(Knobs(**knobs), asked(problem)) for problem in listed]
        return {
            number
            for number, (said, problem) in enumerate(zip(made, listed, strict=True))
            if (said.content, dict(said.calls).get(problem.tool_name, {})) == (problem.answer, problem.tool_arguments)
        }

    better, worse, other = right(accuracy=0.95), right(accuracy=0.90), right(accuracy=0.95, seed=1)
    assert len(better) / len(listed) == pytest.approx(0.95, abs=0.02)
    assert len(worse) / len(listed) == pytest.approx(0.90, abs=0.025)
    assert worse < better  # the same seed: only what got worse differs
    assert other - better
    assert right(accuracy=0.95) == better


def test_streams_say_what_whole_answers_say(client):
    for kind in KINDS:
        for problem in some(kind, 3):
            whole = post(client, asked(problem)).json()["choices"][0]["message"]
            streamed = from_stream(post(client, asked(problem, stream=True)).content)
            assert (streamed.content, streamed.reasoning) == (whole["content"] or "", whole["reasoning_content"] or "")
            arguments = [call["function"]["arguments"] for call in whole["tool_calls"] or []]
            assert [call.arguments for call in streamed.calls] == arguments


# --- steps and times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept_length", [1.0, 1.7, 2.6, 3.0, 3.5, 4.0])
def test_the_accept_length_is_exact(accept_length):
    pace = Pace(Knobs(accept_length=accept_length))
    steps = []
    for problem in some("addition", 300):
        listed, _ = tokens(answer(Knobs(), asked(problem)), 400)
        first, *verified = pace.steps(listed, Timing(0.01, 0.001))
        assert len(first.tokens) == 1
        steps += [len(step.tokens) for step in verified]
    assert abs(sum(steps) - accept_length * len(steps)) < 2 * MOST_PER_STEP  # what is owed is never lost
    assert set(steps) <= set(range(1, MOST_PER_STEP + 1))


def test_tokens_take_their_time_whatever_the_steps():
    for accept_length in (1.0, 2.6, 4.0):
        listed = [Token("content", "a")] * 41
        first, *_, last = Pace(Knobs(accept_length=accept_length)).steps(listed, Timing(0.01, 0.001))
        assert (first.at_s, last.at_s) == (0.01, pytest.approx(0.05))


def test_counters_tell_the_accept_length_and_each_answer_its_own():
    with serving(Knobs(accept_length=2.6)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        before = counters(client)
        told = []
        for problem in some("addition", 40):
            request = asked(problem, stream=True, return_meta_info=True)
            last = [json.loads(each) for each in payloads(post(client, request).content)[:-1]][-1]
            told.append(last["choices"][0]["meta_info"])
        after = counters(client)
    requests, generated, verified = (
        after[f"sglang:{name}"] - before[f"sglang:{name}"]
        for name in ("num_requests_total", "generation_tokens_total", "spec_verify_calls_total")
    )
    assert requests == 40
    assert (generated - requests) / verified == pytest.approx(2.6, abs=0.02)
    assert after["sglang:spec_accept_length"] == pytest.approx(2.6, abs=0.02)
    assert sum(each["spec_verify_ct"] for each in told) == verified
    assert sum(each["completion_tokens"] for each in told) == generated
    assert sum(each["spec_num_correct_drafts"] for each in told) == generated - requests - verified


def test_without_speculation_every_step_gives_one_token():
    with serving(Knobs(speculation=False)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        stream = post(client, body(stream=True, stream_options={"continuous_usage_stats": True}))
        counts = [usage.completion_tokens for usage in from_stream(stream.content).running]
        info = client.get("/server_info").json()
        assert "sglang:spec_verify_calls_total" not in counters(client)
    assert set(itertools.starmap(int.__rsub__, itertools.pairwise(counts))) <= {1, 2}  # 2: over the thoughts' end mark
    assert info["speculative_algorithm"] is None
    assert "avg_spec_accept_length" not in info["internal_states"][0] or counts


def test_shares_are_met_exactly():
    share = Shares(seed=3)
    hits = [share("tail", 0.05) for _ in range(200)]
    assert sum(hits) == 10
    assert {b - a for a, b in itertools.pairwise(n for n, hit in enumerate(hits) if hit)} == {20}
    assert not any(share("none", 0.0) for _ in range(100))


def stamps(url: str, count: int, concurrency: int = 1) -> list[list[float]]:
    """Seconds from sending until each piece of a stream came, for some requests."""

    def one(problem: Problem) -> list[float]:
        sent_s, came = time.perf_counter(), []
        with client.stream("POST", "/v1/chat/completions", json=asked(problem, stream=True)) as response:
            for _ in response.iter_raw():
                came.append(time.perf_counter() - sent_s)
        return came

    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client, ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(one, some("addition", count)))


def test_the_first_token_and_its_tail_come_when_the_knobs_say():
    with serving(Knobs(ttft_s=0.05, tail_share=0.1, tail_ttft_s=0.4, first_request_s=0.6)) as url:
        first, *others = [came[0] for came in stamps(url, 21)]
    assert first > 0.6
    assert 0.03 < statistics.median(others) < 0.2
    assert sum(each > 0.35 for each in others) >= 2


def test_the_time_of_a_token_is_the_knobs():
    def duration_s(tpot_s: float) -> float:
        with serving(Knobs(tpot_s=tpot_s, tpot_spread=0)) as url:
            return statistics.median(came[-1] - came[0] for came in stamps(url, 9))

    assert 1.5 < duration_s(0.02) / duration_s(0.01) < 2.5


def test_answers_from_a_cache_come_at_once_and_say_so():
    with serving(Knobs(answers_from_cache=True, ttft_s=2.0)) as url, httpx.Client(base_url=url) as client:
        usage = post(client, body()).json()["usage"]
        assert max(came[-1] for came in stamps(url, 5)) < 1.0
    assert usage["prompt_tokens_details"] == {"cached_tokens": usage["prompt_tokens"] - 1}


def test_prompts_that_begin_alike_share_pages(client):
    shared = "These are the rules of the house. " * 10
    usages = [post(client, body(f"{shared}{end}")).json()["usage"] for end in ("one", "two")]
    cached = [(usage["prompt_tokens_details"] or {}).get("cached_tokens", 0) for usage in usages]
    assert cached[0] == 0
    assert 256 <= cached[1] < usages[1]["prompt_tokens"]
    client.post("/flush_cache")
    assert post(client, body(f"{shared}three")).json()["usage"]["prompt_tokens_details"] is None


def test_foreign_requests_show_in_the_counters():
    with serving(Knobs(foreign_requests=0.5)) as url, httpx.Client(base_url=url) as client:
        for _ in range(4):
            post(client, body())
        assert counters(client)["sglang:num_requests_total"] == 6


def test_a_stream_that_hangs_never_ends():
    with serving(Knobs(hang_share=0.5)) as url, httpx.Client(base_url=url, timeout=2.0) as client:
        outcomes = []
        for _ in range(4):
            try:
                outcomes.append(from_stream(post(client, body(stream=True)).content).finish_reason)
            except httpx.ReadTimeout:
                outcomes.append("hung")
    assert sorted(outcomes) == ["hung", "hung", "stop", "stop"]


def test_drops_and_doubles_change_the_text_and_not_the_counts():
    for knobs, said in ((Knobs(drop_share=1), "abd"), (Knobs(duplicate_share=1), "abccd")):
        with serving(knobs) as url, httpx.Client(base_url=url) as client:
            options = {"include_usage": True}
            streamed = from_stream(post(client, body("Repeat: abcd", stream=True, stream_options=options)).content)
            whole = post(client, body("Repeat: abcd")).json()
        assert (streamed.content, whole["choices"][0]["message"]["content"]) == (said, "abcd")
        assert streamed.usage.completion_tokens == whole["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("knobs", "content", "finish"),
    [
        (Knobs(empty_share=1), "", "stop"),
        (Knobs(loop_share=1), "", "length"),
        (Knobs(leak_share=1), "7+5=12 carry 1, 2+4+1=7..</think>72", "stop"),
    ],
    ids=["empty", "loop", "leak"],
)
def test_bad_answers(knobs, content, finish):
    with serving(knobs) as url, httpx.Client(base_url=url) as client:
        answered = post(client, body()).json()["choices"][0]
    assert (answered["message"]["content"] or "", answered["finish_reason"]) == (content, finish)


def test_keys_open_the_door():
    with serving(Knobs(api_key="sk-knob")) as url, httpx.Client(base_url=url) as client:
        assert post(client, body()).status_code == 401
        assert client.get("/v1/models").status_code == 401
        assert client.get("/health").status_code == 200
        client.headers["authorization"] = "Bearer sk-knob"
        assert post(client, body()).status_code == 200
        assert b"sk-knob" not in client.get("/server_info").content


def test_the_server_says_what_it_is_told_to_say():
    info = {"kv_cache_dtype": "fp8_e4m3"}
    with serving(Knobs(info=info, release_id="r7", model="m")) as url, httpx.Client(base_url=url) as client:
        told = orjson.loads(client.get("/server_info").content)
        released = post(client, body()).json()["metadata"]["weight_version"]
    assert (told["kv_cache_dtype"], told["internal_states"][0]["kv_cache_dtype"]) == ("fp8_e4m3", "fp8_e4m3")
    assert (told["weight_version"], told["served_model_name"], released) == ("r7", "m", "r7")
