"""`slipway datasets`: the files that accuracy suites take their questions from."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.output import friendly_errors, print_json, say, table, working
from slipway.measure.datasets import DATASETS_VOLUME, datasets_of, missing
from slipway.profile import load_profile
from slipway.stages.datasets import sync_datasets
from slipway.stages.surroundings import open_platform

app = typer.Typer(help="Files that accuracy suites take their questions from.", no_args_is_help=True)

ProfileArgument = Annotated[str, typer.Argument(help="Whose workloads, by name or path.")]
PlatformOption = Annotated[
    str | None, typer.Option("--platform", help="Whose volume; the profile's own by default. `local` for `gate URL`.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def sync(profile: ProfileArgument, platform: PlatformOption = None, as_json: JsonOption = False) -> None:
    """Fetch the datasets of a profile into its platform's volume; what is there is kept, offline."""
    with friendly_errors(as_json=as_json):
        chosen = load_profile(profile)
        with working("fetching datasets") as tell:
            done = sync_datasets(
                open_platform(platform or chosen.platform, chosen),
                chosen,
                progress=lambda p: None if as_json else tell(f"{p.note}: {p.done:g} of {p.total:g}"),
            )
    if as_json:
        print_json(done)
    else:
        say(f"{done['fetched']} fetched, {done['kept']} kept")


@app.command()
def show(profile: ProfileArgument, platform: PlatformOption = None, as_json: JsonOption = False) -> None:
    """Show which datasets a profile needs, and which are there."""
    with friendly_errors(as_json=as_json):
        chosen = load_profile(profile)
        files = datasets_of(chosen)
        volume = open_platform(platform or chosen.platform, chosen).volume(DATASETS_VOLUME)
        absent = missing(volume, files.values()) if files else ()
    if as_json:
        print_json([{"workload": n, **f.model_dump(mode="json"), "there": f not in absent} for n, f in files.items()])
        return
    rows = [
        (name, file.repo, file.revision[:12], file.path, "no" if file in absent else "yes")
        for name, file in files.items()
    ]
    table("workload", "dataset", "commit", "file", "there", rows=rows)
