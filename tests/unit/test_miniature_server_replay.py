"""The miniature answers every recorded request as the real SGLang did.

Each recording is sent again to the application over an engine that walks as the recorded model walked. Status,
keys and their order, types, the order of chunks and all text must be the same; ids and times may differ.
`DIFFERENCES` lists what differs on purpose, and why.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.miniature_app import scripted_client

FIXTURES = Path(__file__).parents[1] / "fixtures" / "sglang"

VOLATILE = {
    *("id", "created", "ts_tic", "e2e_latency", "queue_time", "decode_throughput"),
    *("request_received_ts", "api_server_dispatch_finish_ts", "response_sent_to_client_ts", "request_finished_ts"),
}

DIFFERENCES = {
    # SGLang counts the drafts that the token limit cut off among the thoughts.
    "chat_length": {"reasoning_tokens"},
    # SGLang counts no thoughts where n > 1.
    "chat_n2": {"reasoning_tokens"},
    # Drafts beyond the end counted as thoughts; and the double's template renders tools in fewer tokens.
    "chat_tools": {"reasoning_tokens", "prompt_tokens", "total_tokens"},
    "chat_tools_stream": {"reasoning_tokens", "prompt_tokens", "total_tokens"},
}

EXACT = [
    *("health", "health_generate", "v1_models", "v1_models_one", "model_info", "get_model_info", "get_load"),
    *("version", "weight_version", "ping", "root", "notfound"),
    *("chat", "chat_sampled_first", "chat_sampled_second", "chat_nothink", "chat_length", "chat_ignore_eos"),
    *("chat_noreasoning_split", "chat_n2", "chat_stop", "chat_tools", "chat_cached_tokens", "chat_long_4k"),
    "chat_cached_tokens_again",
    *("chat_stream", "chat_stream_continuous_usage", "chat_stream_nousage", "chat_nothink_stream"),
    *("chat_tools_stream", "completions", "completions_stream", "generate", "generate_stream"),
    *("err_model", "err_toolong", "err_toolong_stream", "err_maxtokens", "err_badtemp"),
]

NOT_SERVED = {
    # The miniature refuses in so many words what it cannot honour, and has no path that nothing here asks for.
    "chat_logprobs": (400, "logprobs"),
    "chat_json_schema": (400, "response_format"),
    "messages": (404, ""),
    "v1_loads": (404, ""),
    "v1_loads_1": (404, ""),
}
JUDGED_BELOW = {
    *("err_badjson", "err_nomessages", "server_info", "server_info_1", "get_server_info", "metrics_0", "metrics_1"),
    *("cut_stream", "chat_tools_required"),
}


@pytest.fixture(scope="module")
def client():
    with scripted_client() as client:
        yield client


def recording(name: str) -> tuple[dict, bytes]:
    return json.loads((FIXTURES / f"{name}.json").read_text()), (FIXTURES / f"{name}.body").read_bytes()


def send(client, request: dict):
    body = request["body"]
    content = body if isinstance(body, str) else None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    return client.request(request["method"], request["path"], content=content, headers=headers)


def content_type(record: dict) -> str | None:
    return next((value for name, value in record["headers"] if name.lower() == "content-type"), None)


def comparable(value: object, ignored: set[str]) -> object:
    """A JSON value with its key order visible and what may differ replaced by its type."""
    if isinstance(value, list):
        return [comparable(item, ignored) for item in value]
    if not isinstance(value, dict):
        return value
    return [(key, type(item).__name__ if key in ignored else comparable(item, ignored)) for key, item in value.items()]


def events(body: bytes) -> list[object]:
    lines = body.decode().split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: ") for line in lines)
    return [line if line == "data: [DONE]" else json.loads(line.removeprefix("data: ")) for line in lines]


def settle_meta_info(result: object) -> object:
    """SGLang writes the keys of `meta_info` in changing order, and one time in the first event of a stream too."""
    if not isinstance(result, dict) or "meta_info" not in result:
        return result
    info = {key: result["meta_info"][key] for key in sorted(result["meta_info"])}
    if info["finish_reason"] is None:
        info.pop("response_sent_to_client_ts", None)
    return result | {"meta_info": info}


@pytest.mark.parametrize("name", EXACT)
def test_answers_as_recorded(client, name):
    record, expected = recording(name)
    ignored = VOLATILE | DIFFERENCES.get(name, set())

    response = send(client, record["request"])

    assert response.status_code == record["status"]
    assert response.headers.get("content-type") == content_type(record)
    if not expected:
        assert response.content == b""
    elif content_type(record).startswith("text/event-stream"):
        found = [comparable(settle_meta_info(event), ignored) for event in events(response.content)]
        assert found == [comparable(settle_meta_info(event), ignored) for event in events(expected)]
    else:
        found = comparable(settle_meta_info(response.json()), ignored)
        assert found == comparable(settle_meta_info(json.loads(expected)), ignored)


def test_no_recording_is_left_out():
    recorded = {path.stem for path in FIXTURES.glob("*.json")}
    assert recorded == {*EXACT, *NOT_SERVED, *JUDGED_BELOW}
    assert len(recorded) == len(EXACT) + len(NOT_SERVED) + len(JUDGED_BELOW) == 53


@pytest.mark.parametrize("name", NOT_SERVED)
def test_what_it_does_not_serve_is_refused_as_sglang_refuses(client, name):
    status, named = NOT_SERVED[name]
    refused = json.loads(recording("err_maxtokens" if status == 400 else "notfound")[1])

    response = send(client, recording(name)[0]["request"])

    assert response.status_code == status
    assert list(response.json()) == list(refused)
    assert named in response.text


def test_a_demanded_call_has_the_form_of_a_free_one(client):
    """The recorded one is garbled by SGLang's grammar, which left the markup in the text."""
    response = send(client, recording("chat_tools_required")[0]["request"])

    free = json.loads(recording("chat_tools")[1])
    free["choices"][0]["message"]["reasoning_content"] = None  # it thinks before a free call only
    assert form(response.json()) == form(free)


def form(value: object) -> object:
    """Keys in their order, and types."""
    if isinstance(value, list):
        return [form(item) for item in value]
    return [(key, form(item)) for key, item in value.items()] if isinstance(value, dict) else type(value).__name__


def test_a_stream_that_was_left_began_as_recorded(client):
    record, expected = recording("cut_stream")

    response = send(client, record["request"])

    whole = [comparable(event, VOLATILE) for event in events(response.content)]
    begun = [comparable(event, VOLATILE) for event in events(expected)]
    assert len(whole) > len(begun) > 3
    assert whole[: len(begun)] == begun


@pytest.mark.parametrize("name", ["err_badjson", "err_nomessages"])
def test_malformed_bodies_get_sglangs_error(client, name):
    """The message is the recorded one but for the lines that name a file of SGLang's."""
    record, expected = recording(name)

    response = send(client, record["request"])

    theirs, ours = json.loads(expected), response.json()
    assert response.status_code == record["status"] == 400
    assert list(ours) == list(theirs)
    assert ours["message"].split("\n\n")[0] == theirs["message"].split("\n\n")[0]
    assert ours["message"].splitlines()[-1].strip() == theirs["message"].splitlines()[-1].strip()
    assert {**ours, "message": ""} == {**theirs, "message": ""}


@pytest.mark.parametrize("name", ["server_info", "server_info_1", "get_server_info"])
def test_server_info_has_sglangs_keys_and_types(client, name):
    record, expected = recording(name)
    theirs = json.loads(expected)

    ours = send(client, record["request"]).json()

    own = {"engine", "kernel_cache", "avg_spec_accept_length"}  # the last comes with the first request
    for mine, recorded in ((ours, theirs), (ours["internal_states"][0], theirs["internal_states"][0])):
        assert set(mine) - own <= set(recorded)
        for key in set(mine) - own - {"internal_states", "max_total_tokens", "watchdog_timeout"}:
            assert type(mine[key]) is type(recorded[key]), key
    for key in ("kv_cache_dtype", "speculative_num_steps", "max_total_num_tokens", "max_req_input_len", "version"):
        assert ours[key] == theirs[key]
    assert ours["status"] == "ready"
    assert ours["engine"] == "miniature"
    memory = ours["internal_states"][0]["memory_usage"]
    assert list(memory) == list(theirs["internal_states"][0]["memory_usage"])


def test_metrics_have_sglangs_names_labels_and_buckets(client):
    _, expected = recording("metrics_1")
    send(client, recording("chat_stream")[0]["request"])

    ours, theirs = series(client.get("/metrics").text), series(expected.decode())

    own = {"sglang:num_aborted_requests_total"}  # named in SGLang's source; the recording aborted nothing
    assert set(ours) - own <= set(theirs)
    for name in set(ours) - own:
        assert ours[name] == theirs[name], name
    for name in ("time_to_first_token_seconds_bucket", "inter_token_latency_seconds_bucket", "spec_accept_length"):
        assert f"sglang:{name}" in ours


def series(exposition: str) -> dict[str, set[tuple[str, ...]]]:
    """Label names by series; for buckets their bounds too."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for line in exposition.splitlines():
        if line.startswith("#"):
            continue
        name, _, rest = line.partition("{")
        labels = dict(item.split("=", 1) for item in rest.partition("}")[0].split(",") if "=" in item)
        stage = labels.pop("stage", None)
        bound = (labels["le"],) if "le" in labels else ()
        if stage is None:
            found.setdefault(name.split(" ")[0], set()).add((*sorted(labels), *bound))
    return found
