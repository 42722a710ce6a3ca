"""Try Slipway with real SGLang on this host's GPU: what no double of SGLang can prove.

    python -m scripts.gpu_check                             on one H100, about 20 minutes
    python -m scripts.gpu_check --gpu H200 --gpu-count 2    tensor-parallel on two H200s
    python -m scripts.gpu_check --profile mine.yaml --json-out figures.json

The miniature is grown to shapes that SGLang's GPU kernels take (`scripts.gpu.grown`), served by a local Hub, and
released by the stages themselves, up to the gates: weights synced and verified, kernels compiled by the engine's tool
and a first start, a candidate on the packed kernels, and everything the gates look at. Beside that: the first
requests of each kind before and after, latencies at one and at many streams, what the engine holds in memory against
the plan, the end of servers one of whose ranks is killed or stands still, a second run that must skip the kernels, and
one for another GPU, which must be refused.

`python3` must have SGLang, in the profile's release. What it finds is a table, and with `--json-out` a document that
grows from step to step. Nothing serves afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import orjson
import typer

from scripts.gpu.grown import grow
from scripts.gpu.lost_ranks import killed, stopped
from slipway.cli.live import display
from slipway.cli.output import friendly_errors, out, say, show_verdicts, table
from slipway.engine.readiness import Target
from slipway.errors import Misconfigured, Rejected
from slipway.files import write_atomic
from slipway.gates.verdict import Verdict
from slipway.kernels.load import run_load
from slipway.kernels.machine import describe_machine
from slipway.measure.report import report
from slipway.measure.run import measure_endpoint
from slipway.miniature import hub
from slipway.platforms.port import Deployment
from slipway.profile import Profile, Workload, load_profile
from slipway.records.events import observed_by
from slipway.records.record import StageRecord
from slipway.stages.candidate import deploy_candidate, warm_up
from slipway.stages.gating import run_gates
from slipway.stages.kernels import precompile_kernels
from slipway.stages.names import Stage
from slipway.stages.planning import plan_run
from slipway.stages.run import Run, open_run
from slipway.stages.surroundings import home
from slipway.stages.weights import sync_weights, verify_weights
from slipway.units import show_bytes, show_seconds

PROFILE: Final = "scripts/gpu/h100.yaml"
STREAMS: Final = (1, 16)
REQUESTS_A_STREAM: Final = 8
MEASURED_TOKENS: Final = 256
ANOTHER_GPU: Final = {"H100": "B200", "H200": "B200"}
"""A GPU of another architecture than the profile's; H100 for all that are not named."""

Row = tuple[str, str]


class Findings:
    """What was found, kept on disk as it grows.

    Attributes:
        document: All figures, by step.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.document: dict[str, Any] = {}

    def add(self, step: str, found: Any) -> None:
        """Keep what a step found."""
        self.document[step] = found
        if self._file:
            write_atomic(self._file, orjson.dumps(self.document, option=orjson.OPT_INDENT_2) + b"\n")


def main(
    profile: Annotated[str, typer.Option(help="What is released: a .yaml file, for one GPU of this host.")] = PROFILE,
    gpu: Annotated[str | None, typer.Option(help="Type of the GPUs; none: the profile's.")] = None,
    gpu_count: Annotated[int | None, typer.Option(help="How many, tensor-parallel; none: the profile's.")] = None,
    json_out: Annotated[Path | None, typer.Option(help="File for the figures as JSON.")] = None,
) -> None:
    """Release the grown miniature with real SGLang, and tell what was seen; ends with 1 if a gate holds it back."""
    findings = Findings(json_out)
    with friendly_errors(as_json=False), display(out) as observer, observed_by(observer):
        findings.add("machine", _machine())
        with _served_model(on_gpus(load_profile(profile), gpu, gpu_count)) as released:
            verdicts = release(released, findings)
            findings.add("second_run", _again(released))
            findings.add("stopped_rank", stopped(released))
            findings.add("other_gpu", _refused(released))
    table("figure", "value", rows=list(rows(findings.document)))
    show_verdicts(verdicts)
    raise typer.Exit(0 if findings.document["gates"]["passed"] else 1)


def _machine() -> dict[str, str]:
    """What this machine says of itself.

    Raises:
        Misconfigured: If it has no GPU.
    """
    machine = describe_machine()
    if "gpu" not in machine:
        raise Misconfigured("CUDA's driver shows no GPU on this host.", remedy="Run this where `nvidia-smi` lists one.")
    return machine


def on_gpus(profile: Profile, gpu: str | None, gpu_count: int | None) -> Profile:
    """The profile on other GPUs than it names, tensor-parallel over as many as there are."""
    hardware = profile.hardware.model_copy(
        update={"gpu": gpu or profile.hardware.gpu, "gpu_count": gpu_count or profile.hardware.gpu_count}
    )
    engine = profile.engine.model_copy(update={"tp_size": hardware.gpu_count})
    return profile.model_copy(update={"hardware": hardware, "engine": engine})


@contextmanager
def _served_model(profile: Profile) -> Iterator[Profile]:
    """The profile, with a Hub that serves the grown model for as long as the block runs."""
    directory = home() / "gpu-check" / "model"
    say("grow the miniature:", str(directory))
    grow(directory)
    with hub.serve(directory, repo=profile.model.repo) as address:
        model = profile.model.model_copy(update={"hub": address.url, "revision": address.commit})
        yield profile.model_copy(update={"model": model})


def release(profile: Profile, findings: Findings) -> list[Verdict]:
    """Everything up to the verdicts; the candidate is stopped whatever happens."""
    with open_run(profile) as run:
        plan_run(run)
        sync_weights(run)
        verify_weights(run)
        precompile_kernels(run)
        findings.add("precompile", _stage(run, Stage.PRECOMPILE))
        candidate = deploy_candidate(run)
        try:
            findings.add("start_s", dict(run.record.cold_start_s))
            findings.add("start_kernels", run.platform.status(candidate).detail)
            findings.add("first_requests_s", _first_requests(run, candidate))
            findings.add("measured", [_measured(run, candidate, streams) for streams in STREAMS])
            warm_up(run, candidate)
            findings.add("gates", _gates(run, candidate))
            findings.add("memory", _memory(run))
            findings.add("killed_rank", killed(run, candidate))
        finally:
            run.platform.stop(candidate)
        return run.record.verdicts


def _stage(run: Run, name: Stage) -> dict[str, Any]:
    return _record(run, name).model_dump(mode="json")


def _record(run: Run, name: Stage) -> StageRecord:
    return next(stage for stage in run.record.stages if stage.name == name)


def _first_requests(run: Run, candidate: Deployment) -> dict[str, float]:
    """Seconds of the first request of each kind, on the kernels that were given."""
    endpoint = run.endpoint(candidate)
    return run_load(
        Target(urlsplit(candidate.url).port or 0, endpoint.api_key),
        model=endpoint.model,
        lengths=run.profile.warmup.prompt_tokens,
        concurrency=run.profile.engine.max_running_requests,
        deadline_s=time.monotonic() + run.profile.scaling.request_timeout_s,
        tell=lambda _: None,
    )


def _measured(run: Run, candidate: Deployment, streams: int) -> dict[str, Any]:
    """The client's report at so many streams."""
    workload = Workload(
        prompts="chat@1", requests=REQUESTS_A_STREAM * streams, concurrency=streams, max_tokens=MEASURED_TOKENS
    )
    return {"streams": streams, **report(measure_endpoint(run.endpoint(candidate), "chat", workload))}


def _gates(run: Run, candidate: Deployment) -> dict[str, Any]:
    """The gates as a release runs them; one that holds the candidate back ends nothing here."""
    try:
        run_gates(run, candidate)
        passed = True
    except Rejected:
        passed = False
    facts = run.ledger.evidence(run.record).facts
    return {
        "passed": passed,
        "verdicts": [verdict.model_dump(mode="json") for verdict in run.record.verdicts],
        **facts.model_dump(mode="json", include={"drift", "probes", "kernels"}),
    }


def _memory(run: Run) -> dict[str, Any]:
    """What the engine holds beside what the plan reckoned; the engine's GiB as it reports them."""
    planned = run.plan.capacity
    state = run.record.server["internal_states"][0]
    return {
        "planned": planned.model_dump(mode="json") if planned else None,
        "reported": state.get("memory_usage"),
        "pool_tokens": run.record.server.get("max_total_num_tokens"),
    }


def _again(profile: Profile) -> dict[str, Any]:
    """A second run: its kernels are there."""
    with open_run(profile) as run:
        plan_run(run)
        precompile_kernels(run)
        return _stage(run, Stage.PRECOMPILE)


def _refused(profile: Profile) -> str:
    """Why kernels for another GPU are not made here.

    Raises:
        Rejected: If they were.
    """
    gpu = ANOTHER_GPU.get(profile.hardware.gpu or "", "H100")
    hardware = profile.hardware.model_copy(update={"gpu": gpu})
    with open_run(profile.model_copy(update={"hardware": hardware})) as run:
        plan_run(run)
        try:
            precompile_kernels(run)
        except Misconfigured as error:
            return error.message
    raise Rejected(f"Kernels for {gpu} were made on this machine.", remedy="Read `slipway.kernels.machine`.")


def rows(found: dict[str, Any]) -> Iterator[Row]:
    """The findings as a table."""
    yield "machine", ", ".join(found["machine"].values())
    yield "kernels made", f"{found['precompile']['message']}, {show_seconds(found['precompile']['seconds'])} in all"
    yield "second run", f"{found['second_run']['status']}: {found['second_run']['message']}"
    yield "kernels for another GPU", found["other_gpu"]
    yield "start on them", _steps(found["start_s"])
    yield "kernels in use", found["start_kernels"]
    yield "first requests", _steps(found["first_requests_s"])
    for each in found["measured"]:
        yield f"{each['streams']} streams", _latencies(each)
    gates = found["gates"]
    broken = [probe for probe in gates["probes"] if probe["outcome"] == "broken"]
    yield "configuration drift", "; ".join(gates["drift"]) or "none"
    yield "compiled until the gates", "; ".join(gates["kernels"]) or "nothing"
    yield "conformance", f"{len(gates['probes'])} checks, {len(broken)} broken"
    yield from ((f"  {probe['check']}", probe["detail"]) for probe in broken)
    yield from _memory_rows(found["memory"])
    for fault in ("killed", "stopped"):
        end = found[f"{fault}_rank"]
        yield f"{end['rank']} {fault}", f"{end['phase']} after {show_seconds(end['seconds'])}: {end['detail']}"


def _steps(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {show_seconds(each)}" for name, each in seconds.items())


def _latencies(measured: dict[str, Any]) -> str:
    def median(name: str, show: Callable[[float], str]) -> str:
        summary = measured[name]
        return show(summary["p50"]) if summary else "none"

    told = f"TTFT {median('ttft_s', show_seconds)}, TPOT {median('tpot_s', show_seconds)}"
    drafts = median("accept_length", lambda value: f"{value:.2f}")
    return f"{told}, accept length {drafts}; {'valid' if measured['valid'] else measured['invalid_because']}"


def _memory_rows(memory: dict[str, Any]) -> Iterator[Row]:
    planned, reported = memory["planned"], memory["reported"] or {}
    yield "engine's memory", ", ".join(f"{name} {value}" for name, value in reported.items())
    if planned:
        parts = (f"{part['name']} {show_bytes(part['size_bytes'])}" for part in planned["memory"])
        yield "planned memory", ", ".join(parts)
        yield "KV pool", f"{memory['pool_tokens']} tokens, {planned['pool_tokens']} planned"


if __name__ == "__main__":
    typer.run(main)
