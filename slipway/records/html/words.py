"""What a report says in words: the outcome, why it is so, the facts beside it, and how to make it again."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any, Final

import yaml

from slipway.gates.verdict import Decision, blocking
from slipway.profile import Level
from slipway.records.compare import identity
from slipway.records.record import Outcome, ReleaseRecord, StageStatus
from slipway.units import show_seconds, show_usd

Facts = list[tuple[str, str]]

MEANINGS: Final = {
    Outcome.RUNNING: "The run goes on: this is what is known so far.",
    Outcome.PROMOTED: "Users reach this release.",
    Outcome.REJECTED: "Users did not reach this release: what served before serves on.",
    Outcome.ROLLED_BACK: "A switch was made and taken back: what served before serves again.",
    Outcome.PREPARED: "What was asked for is on the platform; nothing was released.",
    Outcome.INTERRUPTED: "The process of the run died; the next run closed its record.",
    Outcome.PREPARED: "Weights or kernels were brought to the platform; nothing was released.",
}


def facts(record: ReleaseRecord) -> Facts:
    """The few things that everyone looks for first."""
    before = f"version {record.previous_version}" if record.previous_version else "none"
    hardware = record.profile.get("hardware", {})
    gpus = f"{hardware.get('gpu_count')} x {hardware['gpu']}" if hardware.get("gpu") else "CPU"
    model = record.profile.get("model", {})
    return [
        ("Version", str(record.version) if record.version else "not released"),
        ("Served before", before),
        ("Model", f"{model.get('repo', 'unknown')} at {record.commit[:12] or model.get('revision', 'no commit')}"),
        ("Engine", identity(record)["engine"] or "unknown"),
        ("Runs on", f"{gpus}, platform {record.profile.get('platform', 'unknown')}"),
        ("Started", f"{record.started_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Took", show_seconds(record.took_s) if record.took_s is not None else "not ended"),
        ("Cost", show_usd(record.cost_usd)),
    ]


def why(record: ReleaseRecord) -> Iterator[str]:
    """The reasons of the outcome, the decisive ones first."""
    for stage in record.stages:
        if stage.status is StageStatus.FAILED and not blocking(record.verdicts):
            yield f"{stage.name} failed: {stage.message}"
    for verdict in blocking(record.verdicts):
        yield f"{verdict.gate} is {verdict.decision}: {verdict.reason}"
    if record.verdicts:
        yield _counted(record)
    for finding in record.plan.findings if record.plan else ():
        if waiver := finding.waiver:
            yield f"{finding.rule} was found and is accepted until {waiver.expires}: {waiver.reason}"


def approvals(record: ReleaseRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Each question that was put to a person, and what they made of it."""
    rows: list[tuple[str, ...]] = [
        (
            f"{asked.asked_at:%Y-%m-%d %H:%M} UTC",
            "; ".join(asked.reasons),
            asked.choice.value if asked.choice else "nobody decided",
            asked.decided_by,
            show_seconds(asked.waited_s) if asked.decided_at else "",
            asked.comment,
        )
        for asked in record.approvals
    ]
    return ("asked", "because", "decision", "by", "after", "why"), rows


def _counted(record: ReleaseRecord) -> str:
    words = [f"{count} {decision.value}" for decision in Decision if (count := _count(record, decision))]
    advisory = sum(v.level is Level.ADVISORY and v.decision is not Decision.PASS for v in record.verdicts)
    aside = f"; {advisory} of those that did not pass are advisory: reported, never blocking" if advisory else ""
    return f"Gates: {', '.join(words)}{aside}."


def _count(record: ReleaseRecord, decision: Decision) -> int:
    return sum(verdict.decision is decision for verdict in record.verdicts)


def reproduction(record: ReleaseRecord) -> Facts:
    """Names of everything the release is made of."""
    found = {name: value or "not known: the run did not come so far" for name, value in identity(record).items()}
    return [("release", record.release_id), *found.items(), *_versions(record.server)]


def _versions(server: dict[str, Any]) -> Facts:
    """What the engine says of its own parts."""
    return [(f"engine's {name}", str(value)) for name, value in server.items() if name.endswith("_version") and value]


def command(record: ReleaseRecord) -> str:
    """What releases the same again, with the profile below in a file."""
    revision = f" --revision {record.commit}" if record.commit else ""
    return f"slipway redeploy {record.profile.get('name', 'profile')}.yaml{revision}"


def profile_yaml(record: ReleaseRecord) -> str:
    """The profile as it was used, defaults and all."""
    return yaml.safe_dump(record.profile, sort_keys=False, allow_unicode=True, width=100)


def argv_lines(record: ReleaseRecord) -> str:
    """The command line, an option a line."""
    lines: list[str] = []
    for word in record.argv:
        if lines and not word.startswith("-") and lines[-1].startswith("-"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def version() -> str:
    """Of the Slipway that made the report."""
    return metadata.version("slipway")
