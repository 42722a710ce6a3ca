"""`slipway evals`: what was asked and answered, as logs of Inspect AI."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from slipway.cli.main import app
from slipway.gates.evidence import Evidence, save_facts, save_samples
from slipway.gates.judge import judge
from slipway.gates.questions import save_questions
from slipway.measure.prompts.dataset import DIRECTORY_VARIABLE
from slipway.measure.prompts.question import Question
from slipway.measure.workload import build
from slipway.profile import Gate, load_profile
from tests.support.measure_samples import sample, seen, taken
from tests.support.suite_datasets import GPQA, GSM8K, as_csv, parquet, placed, suite

RUNNER = CliRunner()


def stored(folder: Path, evidence: Evidence) -> Path:
    save_facts(folder, evidence.facts)
    for name, samples in evidence.samples.items():
        save_samples(folder, name, tuple(samples), evidence.quality[name])
    return folder


@pytest.mark.slow
def test_miniature_s_answers_have_the_gates_accuracy(tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    profile = load_profile("miniature")
    samples = {
        "arithmetic": taken(profile, "arithmetic", wrong=7, failed=2),
        "tools": taken(profile, "tools", wrong=3),
    }
    folder = stored(tmp_path / "evidence", seen(samples))
    done = RUNNER.invoke(app, ["evals", str(folder), "--out", str(tmp_path / "logs"), "--json"])
    assert done.exit_code == 0, done.output
    written = {each["workload"]: each for each in orjson.loads(done.output)}
    for name, right in {"arithmetic": 111 / 120, "tools": 57 / 60}.items():
        (judged,) = judge(
            profile.model_copy(
                update={"gates": (Gate(metric="accuracy", statistic="share", workload=name, at_least=0.1),)}
            ),
            seen({name: samples[name]}),
        )
        assert written[name]["accuracy"] == pytest.approx(judged.estimate) == pytest.approx(right)
    log = read_eval_log(written["arithmetic"]["log"])
    outcomes = [item.scores["slipway_rule"].explanation for item in log.samples or [] if item.scores]
    assert (outcomes.count("unparsed"), outcomes.count("failed"), outcomes.count("right")) == (7, 2, 111)


@pytest.mark.slow
def test_suites_show_prompt_answer_and_a_second_opinion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inspect_ai.log import read_eval_log

    math, science = parquet(GSM8K), as_csv(GPQA)
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(placed(tmp_path / "datasets", math, science)))
    workloads = {
        "math": suite("gsm8k@1", math.file, requests=4),
        "science": suite("gpqa-diamond@1", science.file, requests=12, repeats=2, temperature=1.0),
    }
    gates = tuple(Gate(metric="accuracy", statistic="share", workload=name, at_least=0.1) for name in workloads)
    profile = load_profile("miniature").model_copy(update={"workloads": workloads, "gates": gates})
    (tmp_path / "suites.yaml").write_text(profile.model_dump_json())
    samples = {}
    for name, spec in workloads.items():
        answers = [request.problem for request in build(name, spec)]
        said = "#### {}" if name == "math" else "Answer: {}"
        samples[name] = [
            sample(
                workload=name,
                request_id=f"{name}-{index:05d}",
                content=said.format(each.answers[0]) if index else "who knows",
                reasoning="Let me think.",
            )
            for index, each in enumerate(answers)
            if isinstance(each, Question)
        ]
    folder = stored(tmp_path / "evidence", seen(samples))
    for name, spec in workloads.items():
        save_questions(folder, name, build(name, spec))
    monkeypatch.delenv(DIRECTORY_VARIABLE)  # nothing but the evidence is needed
    command = ["evals", str(folder), "-p", str(tmp_path / "suites.yaml"), "--out", str(tmp_path / "logs"), "--json"]
    done = RUNNER.invoke(app, command)
    assert done.exit_code == 0, done.output
    written = {each["workload"]: each for each in orjson.loads(done.output)}
    assert {name: each["accuracy"] for name, each in written.items()} == {
        "math": 3 / 4,
        "science": pytest.approx(11 / 12),
    }
    log = read_eval_log(written["math"]["log"])
    first, second = (log.samples or [])[:2]
    assert "Problem: A shelf holds" in second.messages[0].text
    assert second.output.completion.startswith("#### ")
    assert "Let me think." in str(second.messages[-1].content)
    assert {name: score.value for name, score in (second.scores or {}).items()} == {"slipway_rule": "C", "match": "C"}
    assert (first.scores or {})["slipway_rule"].value == "N"
    assert log.eval.model_args == {}
    science_log = read_eval_log(written["science"]["log"])
    assert {s.scorer for s in (science_log.results.scores if science_log.results else [])} == {"slipway_rule", "answer"}
    assert len({(each.metadata or {})["question"] for each in science_log.samples or []}) == 6


def test_what_cannot_be_shown_is_told(tmp_path: Path) -> None:
    folder = stored(tmp_path / "evidence", seen({}))
    unmeasured = RUNNER.invoke(app, ["evals", str(folder), "-w", "arithmetic", "--json"])
    unknown = RUNNER.invoke(app, ["evals", str(folder), "-w", "chat", "--json"])
    absent = RUNNER.invoke(app, ["evals", str(tmp_path), "--json"])
    assert [each.exit_code for each in (unmeasured, unknown, absent)] == [2, 2, 2]
    assert "'arithmetic' was not measured" in unmeasured.output
    assert "Name one of arithmetic, tools" in unknown.output
    assert "holds no evidence" in absent.output


def test_inspect_is_not_imported_by_the_command_line() -> None:
    assert "slipway.cli.main" in sys.modules
    import subprocess

    code = "import sys, slipway.cli.main; print('inspect_ai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
