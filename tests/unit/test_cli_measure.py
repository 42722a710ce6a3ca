"""`slipway measure`: figures of an endpoint, and clear words where there are none to be had."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from slipway.cli.measure import measure
from slipway.measure.samples import about, from_parquet
from tests.support.measure_server import CUT, Step, answer, completion, paced, serving

KEYS = {"mean", "p50", "p90", "p95", "p99"}
WIDE_S = 0.15  # two busy cores


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command; exit code, standard output and standard error."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    app.command()(measure)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def models(*names: str) -> list[Step]:
    return [answer(200, json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode())]


def script(chat: Sequence[Step], *served: str) -> Callable[[dict[str, Any]], Sequence[Step]]:
    """What asks without a body asks for the models."""
    return lambda body: chat if body else models(*(served or ("glm",)))


GOOD = paced(completion([2, 5, 8, 11]), [0.1, 0.06, 0.06, 0.06])


def test_json_of_a_closed_loop(runner: Callable[..., Any], tmp_path: Path) -> None:
    figures, samples = tmp_path / "new" / "figures.json", tmp_path / "samples.parquet"
    with serving(script(GOOD)) as server:
        result = runner(
            f"{server.url}/v1", "--concurrency", 2, "-n", 8, "--max-tokens", 11, "--json-out", figures,
            "--samples-out", samples,
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(figures.read_text())
    for name in ("ttft_s", "tpot_s", "event_gap_s", "e2e_s"):
        assert told[name].keys() == KEYS
    assert told["ttft_s"]["p50"] == pytest.approx(0.1, abs=WIDE_S)
    assert told["tpot_s"]["p50"] == pytest.approx(0.18 / 9, abs=WIDE_S / 9)
    assert told["event_gap_s"]["mean"] == pytest.approx(0.06, abs=WIDE_S / 3)
    assert (told["requests_ok"], told["requests_failed"], told["output_tokens"]) == (8, 0, 88)
    assert told["tokens_per_event"] == pytest.approx(11 / 4)
    assert 20 < told["output_tokens_per_s"] < 2 * 11 / 0.28 * 1.3
    assert told["stamps"] in {"kernel", "user"}
    assert told["model"] == "glm"
    assert told["valid"] is (not told["invalid_because"])
    assert told["workload"]["prompts"] == "chat@1"
    kept = samples.read_bytes()
    assert [sample.completion_tokens for sample in from_parquet(kept)] == [11] * 8
    assert about(kept)["digest"] == told["workload"]["digest"]
    assert "TTFT" in result.stdout
    assert "output tokens/s" in result.stdout


def test_nothing_but_json_on_standard_output(runner: Callable[..., Any]) -> None:
    with serving(script(GOOD)) as server:
        result = runner(server.url, "-n", 2, "-c", 2, "--json")
    assert json.loads(result.stdout)["requests_ok"] == 2


def test_open_loop_counts_from_the_schedule(runner: Callable[..., Any]) -> None:
    with serving(script(GOOD)) as server:
        result = runner(server.url, "-n", 6, "--rate", 20, "--constant", "--json")
    told = json.loads(result.stdout)
    assert told["load"]["kind"] == "open loop"
    assert told["load"]["span_s"] == pytest.approx(5 / 20)
    assert told["ttft_from_schedule_s"]["mean"] >= told["ttft_s"]["mean"]
    # All six were on their way before the first had ended.
    assert told["output_tokens_per_s"] is None
    assert "full load" in told["absent"]["output_tokens_per_s"]


def test_what_is_sent(runner: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "k-1")
    with serving(script(GOOD, "a", "b")) as server:
        result = runner(
            server.url, "-m", "b", "-n", 2, "-c", 1, "-w", "smoke@1", "--api-key-env", "OTHER_KEY", "--header",
            "Proxy-Token=t=1", "--header", "X-Two=2", "--no-keep-alive", "--no-thinking", "--temperature", 0.5,
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    chats = [served for served in server.served if served.body]
    assert [served.body["model"] for served in chats] == ["b", "b"]
    assert {served.headers["authorization"] for served in server.served} == {"Bearer k-1"}
    assert {(s.headers["proxy-token"], s.headers["x-two"]) for s in chats} == {("t=1", "2")}
    assert len({served.connection for served in chats}) == 2
    assert chats[0].body["chat_template_kwargs"] == {"enable_thinking": False}
    assert chats[0].body["temperature"] == 0.5
    # Two runs must not find each other's prompts in a cache.
    with serving(script(GOOD)) as server:
        runner(server.url, "-n", 1, "-c", 1, "-w", "smoke@1")
    (other,) = [served for served in server.served if served.body]
    assert other.body["messages"] != chats[0].body["messages"]


def test_own_file_and_trace(runner: Callable[..., Any], tmp_path: Path) -> None:
    own, trace = tmp_path / "own.jsonl", tmp_path / "trace.jsonl"
    own.write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    trace.write_text('{"timestamp_s": 1.0, "prompt": "one"}\n{"timestamp_s": 1.1, "prompt": "two"}\n')
    with serving(script(GOOD)) as server:
        assert runner(server.url, "-w", own, "-n", 2, "-c", 1).exit_code == 0
        result = runner(server.url, "--trace", trace, "--json")
    assert json.loads(result.stdout)["requests_ok"] == 2
    asked = [served.body["messages"][0]["content"] for served in server.served if served.body]
    assert asked == ["one", "two"] * 2


@pytest.mark.slow
def test_ladder(runner: Callable[..., Any], tmp_path: Path) -> None:
    figures, picture = tmp_path / "ladder.json", tmp_path / "ladder.svg"
    with serving(script(GOOD)) as server:
        result = runner(
            *(server.url, "--sweep", "-c", 2, "-n", 4, "-w", "smoke@1", "--json-out", figures, "--plot", picture)
        )
    assert result.exit_code == 0, result.output
    told = json.loads(figures.read_text())
    assert [each["concurrency"] for each in told["points"]] == [1, 2]
    assert [each["requests_ok"] for each in told["points"]] == [4, 8]
    assert told["points"][1]["output_tokens_per_s"] > 1.3 * told["points"][0]["output_tokens_per_s"]
    assert told["knee"]["concurrency"] == 2
    assert "streams" in result.stdout
    assert "output tokens/s" in picture.read_text()
    assert "knee" not in picture.read_text()  # which was not found: no more streams were tried


def test_failed_requests_are_counted_and_told(runner: Callable[..., Any]) -> None:
    turns = iter([[CUT], GOOD, [answer(500, b"boom")], GOOD])

    def failing(body: dict[str, Any]) -> Sequence[Step]:
        return next(turns) if body else models("glm")

    with serving(failing) as server:
        result = runner(server.url, "-n", 4, "-c", 1, "--json")
    told = json.loads(result.stdout)
    assert (told["requests_ok"], told["requests_failed"]) == (2, 2)
    assert sum(told["errors"].values()) == 2
    assert "HTTP 500: boom" in told["errors"]
    assert "2 of 4 requests failed" in " ".join(told["notes"])


def test_noise_is_told(runner: Callable[..., Any]) -> None:
    with serving(script(GOOD)) as server:
        result = runner(server.url, "-n", 1, "-w", "random@1")
    assert "random@1 is noise" in result.stdout


# --- what goes wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [True, False])
def test_no_usage_is_refused_with_what_was_measured(runner: Callable[..., Any], as_json: bool) -> None:
    with serving(script(paced(completion([2, 5, 8], usage=False), [0.02]))) as server:
        result = runner(server.url, "-n", 2, *(["--json"] if as_json else []))
    assert result.exit_code == 2
    if as_json:
        told, error = map(json.loads, result.stdout.splitlines())
        assert told["tpot_s"] is None
        assert told["output_tokens_per_s"] is None
        assert told["ttft_s"]["p50"] > 0
        assert "continuous_usage_stats" in told["absent"]["tpot_s"]
        assert "does not count tokens" in error["message"]
    else:
        assert "does not count tokens" in result.stderr
        assert "What to do" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["http://127.0.0.1:9"], 3, "reached"),
        (["nonsense"], 2, "nonsense"),
        (["http://127.0.0.1:9", "--rate", "1", "--sweep"], 2, "--rate and --sweep contradict"),
        (["http://127.0.0.1:9", "--rate", "1", "--concurrency", "4"], 2, "--rate and --concurrency contradict"),
        (["http://127.0.0.1:9", "--workload", "chat@7"], 2, "prompts: Input should be"),
        (["http://127.0.0.1:9", "--requests", "0"], 2, "requests: Input should be greater"),
        (["http://127.0.0.1:9", "--rate", "-1"], 2, "rate_per_s: Input should be greater"),
        (["http://127.0.0.1:9", "--header", "oops"], 2, "--header oops has no value"),
        (["http://127.0.0.1:9", "--trace", "missing.jsonl"], 2, "missing.jsonl cannot be read"),
        (["http://127.0.0.1:9", "--workload", "smoke@1", "--prompt-characters", "500"], 2, "lengths of its own"),
    ],
)
def test_wrong_use(runner: Callable[..., Any], arguments: list[str], code: int, said: str) -> None:
    result = runner(*arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert "What to do" in result.stderr


@pytest.mark.parametrize(
    ("listed", "arguments", "said"),
    [
        (models("a", "b"), [], "has 2 models: a, b"),
        (models(), [], "has 0 models that are listed"),
        (models("a"), ["--model", "b"], "does not serve 'b'"),
        ([answer(401, b"{}")], [], "refuses the API key"),
        ([answer(404, b"{}")], [], "has 0 models that are listed"),
        ([answer(200, b"<html>")], [], "no JSON object"),
        ([answer(200, b'{"data": [1, {}]}')], [], "has 0 models"),
    ],
)
def test_what_serves_there(runner: Callable[..., Any], listed: list[Step], arguments: list[str], said: str) -> None:
    with serving(lambda _: listed) as server:
        result = runner(server.url, *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_model_may_be_named_where_none_are_listed(runner: Callable[..., Any]) -> None:
    with serving(lambda body: GOOD if body else [answer(404, b"{}")]) as server:
        assert runner(server.url, "-m", "glm", "-n", 1).exit_code == 0


@pytest.mark.parametrize(("status", "code"), [(404, 2), (400, 2), (429, 3), (500, 3)])
def test_not_one_request_is_served(runner: Callable[..., Any], status: int, code: int) -> None:
    with serving(script([answer(status, b"no such thing")])) as server:
        result = runner(server.url, "-n", 3)
    assert result.exit_code == code
    said = " ".join(result.stderr.split())
    assert f"served none of 3 requests. The first: HTTP {status}: no such thing" in said


def test_figures_that_cannot_be_written(runner: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with serving(script(GOOD)) as server:
        result = runner(server.url, "-n", 1, "--json-out", tmp_path / "file" / "figures.json")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
