"""`slipway weights`: bring weights to a platform's volume, prove that they are right, mend them, take old ones away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from slipway.cli.output import friendly_errors, out, print_json, table, working
from slipway.errors import Misconfigured
from slipway.platforms.port import Progress, ProgressSink
from slipway.profile import load_profile
from slipway.stages import revisions, weights
from slipway.stages.directory import directory_work
from slipway.stages.planning import resolve, weights_volume
from slipway.stages.surroundings import hub_endpoint, open_platform
from slipway.units import HOURS, show_bytes

app = typer.Typer(help="Weights on a platform's volume: fetched, verified, mended.", no_args_is_help=True)

ProfileArgument = Annotated[str, typer.Argument(help="Whose weights, by name or path.")]
WantedArgument = Annotated[
    str, typer.Argument(metavar="PROFILE", help="Whose weights, by name or path; with --directory: REPO@COMMIT.")
]
DirectoryOption = Annotated[
    Path | None, typer.Option("--directory", help="Hold the files in this directory; no profile, no platform.")
]
RevisionOption = Annotated[str | None, typer.Option(help="Commit of the weights instead of the profile's.")]
PlatformOption = Annotated[str | None, typer.Option("--platform", help="Whose volume; the profile's own by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]

TIMEOUT_S = 12 * HOURS


class Tier(StrEnum):
    """How thoroughly weights are verified."""

    QUICK = "quick"
    SAMPLED = "sampled"
    FULL = "full"


TIERS: dict[Tier, Callable[[weights.Work], dict[str, Any]]] = {
    Tier.QUICK: weights.look_quickly,
    Tier.SAMPLED: weights.look_at_samples,
    Tier.FULL: weights.hash_all,
}


@app.command()
def sync(
    profile: WantedArgument,
    directory: DirectoryOption = None,
    revision: RevisionOption = None,
    platform: PlatformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the files that are missing; run again, it goes on where it ended."""
    with _work(profile, directory, revision, platform, as_json=as_json) as work:
        done = weights.fetch(work)
    _conclude(
        done, f"{done['files_fetched']} files fetched, {done['files_kept']} kept; `verify` proves them", as_json=as_json
    )


@app.command()
def verify(
    profile: WantedArgument,
    tier: Annotated[
        Tier,
        typer.Option(
            help="quick: sizes, headers, index, config. sampled: and some bytes. full: every byte, then READY."
        ),
    ] = Tier.FULL,
    directory: DirectoryOption = None,
    revision: RevisionOption = None,
    platform: PlatformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what the volume holds with what the Hub published. Ends with 3 if it differs."""
    with _work(profile, directory, revision, platform, as_json=as_json) as work:
        done = TIERS[tier](work)
    _conclude(done, f"{done['files']} files are as published ({tier})", as_json=as_json)


@app.command()
def repair(
    profile: WantedArgument,
    directory: DirectoryOption = None,
    revision: RevisionOption = None,
    platform: PlatformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every file, fetch again over plain HTTP what is wrong, hash again."""
    with _work(profile, directory, revision, platform, as_json=as_json) as work:
        done = weights.prove(work)
    repaired = ", ".join(done["repaired"]) or "nothing"
    _conclude(done, f"{done['files']} files are as published; repaired: {repaired}", as_json=as_json)


@app.command()
def show(profile: ProfileArgument, platform: PlatformOption = None, as_json: JsonOption = False) -> None:
    """Show the revisions that lie in the volume; nothing is asked of the Hub."""
    with friendly_errors(as_json=as_json):
        chosen = load_profile(profile)
        there = revisions.revisions(open_platform(platform or chosen.platform, chosen).volume(weights_volume(chosen)))
    if as_json:
        print_json([_as_json(one) for one in there])
        return
    rows = [
        (
            one.commit[:12],
            one.manifest.repo if one.manifest else "?",
            one.manifest.digest[:12] if one.manifest else "?",
            show_bytes(one.size_bytes),
            str(one.missing),
            str(one.quarantined),
            f"{one.verified_at:%Y-%m-%d %H:%M} UTC" if one.verified_at else "no",
        )
        for one in there
    ]
    table("commit", "repository", "manifest", "size", "missing", "quarantined", "verified", rows=rows)


@app.command()
def prune(
    profile: ProfileArgument,
    keep: Annotated[int, typer.Option(min=1, help="Revisions that stay, the last verified first.")] = 2,
    platform: PlatformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove old revisions, never one that serves, that a rollback would serve, or that the profile names."""
    with friendly_errors(as_json=as_json):
        chosen = load_profile(profile)
        gone = revisions.prune(open_platform(platform or chosen.platform, chosen), chosen, keep=keep)
    freed = sum(one.size_bytes for one in gone)
    _conclude(
        {"removed": [one.commit for one in gone], "bytes": freed},
        f"{len(gone)} revisions removed, {show_bytes(freed)} freed",
        as_json=as_json,
    )


@contextmanager
def _work(
    wanted: str, directory: Path | None, revision: str | None, platform: str | None, *, as_json: bool
) -> Iterator[weights.Work]:
    """The weights of a profile, or those that a directory shall hold, held by one writer at a time."""
    with friendly_errors(as_json=as_json), working("asking the Hub") as show:

        def tell(progress: Progress) -> None:
            if not as_json:
                show(_line(progress))

        if directory is None:
            found = _of_profile(wanted, revision, platform, tell)
        else:
            found = _of_directory(wanted, directory, revision or platform, tell)
        with found as work, work.writing():
            yield work


@contextmanager
def _of_profile(name: str, revision: str | None, platform: str | None, tell: ProgressSink) -> Iterator[weights.Work]:
    chosen = load_profile(name, revision=revision)
    there = open_platform(platform or chosen.platform, chosen)
    with hub_endpoint(chosen) as hub:
        yield weights.WeightsWork(there, chosen, resolve(chosen, there, hub), hub, TIMEOUT_S, tell)


@contextmanager
def _of_directory(wanted: str, directory: Path, of_profiles: str | None, tell: ProgressSink) -> Iterator[weights.Work]:
    if of_profiles:
        raise Misconfigured(
            "--revision and --platform are of profiles, and --directory does without one.",
            remedy="Name the weights as REPO@COMMIT, and leave them out.",
        )
    yield directory_work(wanted, directory, tell)


def _line(progress: Progress) -> str:
    show_amount = show_bytes if progress.unit == "bytes" else "{:g}".format
    return f"{progress.note}: {show_amount(progress.done)} of {show_amount(progress.total or 0)}"


def _as_json(one: revisions.Revision) -> dict[str, Any]:
    return {
        "commit": one.commit,
        "repo": one.manifest.repo if one.manifest else None,
        "manifest_digest": one.manifest.digest if one.manifest else None,
        "size_bytes": one.size_bytes,
        "missing": one.missing,
        "quarantined": one.quarantined,
        "verified_at": one.verified_at.isoformat() if one.verified_at else None,
    }


def _conclude(done: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        out.print(sentence, soft_wrap=True)
