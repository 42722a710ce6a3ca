"""`slipway evals`: a run's answers as logs of Inspect AI, to be looked at question by question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.output import friendly_errors, print_json, say, table, working
from slipway.cli.stored import stored
from slipway.errors import Misconfigured
from slipway.gates.case import Case
from slipway.gates.evidence import Evidence
from slipway.profile import Profile, load_profile
from slipway.stages.surroundings import home


def evals(
    observed: Annotated[str, typer.Argument(help="A release's id, or a folder of evidence.")],
    workload: Annotated[str | None, typer.Option("--workload", "-w", help="Only this one.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="Whose workloads; `miniature`, or the release's own.")
    ] = None,
    directory: Annotated[Path | None, typer.Option("--out", help="Where the logs go; by default a new folder.")] = None,
    view: Annotated[bool, typer.Option("--view", help="Open Inspect's viewer and serve it until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was written, as JSON.")] = False,
) -> None:
    """Write what was asked and answered as logs that `inspect view` shows; nothing is asked again."""
    with friendly_errors(as_json=as_json):
        evidence, own = stored(observed)
        chosen = own if own and profile is None else load_profile(profile or "miniature")
        target = directory or home() / "evals" / Path(observed).name
        with working("writing logs"):
            written = [_write(chosen, evidence, name, target, observed) for name in _judged(chosen, workload)]
    if as_json:
        print_json(written)
    else:
        rows = [(str(w["workload"]), str(w["items"]), f"{w['accuracy']:.4f}", str(w["log"])) for w in written]
        table("workload", "items", "accuracy", "log", rows=rows)
        say("to look at them:", f"inspect view --log-dir {target}")
    if view:
        from inspect_ai import view as open_view  # noqa: PLC0415 - takes seconds, and only here

        open_view(log_dir=str(target))


def _judged(profile: Profile, only: str | None) -> list[str]:
    """Workloads whose answers some gate judges."""
    names = [g.workload for g in profile.gates if g.metric in {"accuracy", "tool_calls"} and g.workload]
    found = [name for name in dict.fromkeys(names) if only in {None, name}]
    if not found:
        raise Misconfigured(
            f"No gate of profile {profile.name} judges answers{f' of {only!r}' if only else ''}.",
            remedy=f"Name one of {', '.join(dict.fromkeys(names))}." if names else "Add a gate `accuracy`.",
        )
    return found


def _write(profile: Profile, evidence: Evidence, name: str, target: Path, observed: str) -> dict[str, object]:
    from slipway.records.inspect_log import write_log  # noqa: PLC0415 - Inspect's import takes seconds, and only here

    gate = next(g for g in profile.gates if g.workload == name)
    log = write_log(Case(profile, gate, evidence), target, name=observed)
    scores = log.results.scores if log.results else []
    return {
        "workload": name,
        "items": log.results.total_samples if log.results else 0,
        "accuracy": scores[0].metrics["accuracy"].value if scores else float("nan"),
        "log": log.location,
    }
