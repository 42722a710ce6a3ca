"""`slipway report`: a release's report as one HTML file, to be looked at, kept, or sent."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.output import friendly_errors, print_json, say, working
from slipway.cli.runs import PlatformOption, ReleaseArgument, named
from slipway.errors import Misconfigured
from slipway.files import write_atomic
from slipway.records.ledger import Ledger
from slipway.stages.surroundings import home, open_platform


def report(
    release_id: ReleaseArgument = "latest",
    target: Annotated[
        Path | None, typer.Option("--out", help="File to write; by default one in Slipway's own directory.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    platform: PlatformOption = "local",
    as_json: Annotated[bool, typer.Option("--json", help="What was written, as JSON.")] = False,
) -> None:
    """Write the report of one run: a file that needs no network, whatever became of the run."""
    with friendly_errors(as_json=as_json):
        ledger = Ledger(open_platform(platform))
        record = named(ledger, release_id)
        with working("drawing"):
            from slipway.records.html.stored import page_of  # noqa: PLC0415 - matplotlib takes a second

            data = page_of(ledger, record).encode()
        file = target or home() / "reports" / f"{record.release_id}.html"
        _write(file, data, own=target is None)
    if as_json:
        print_json({"release_id": record.release_id, "file": str(file), "size_bytes": len(data)})
    else:
        say("report:", str(file))
    if show and not webbrowser.open(file.resolve().as_uri()) and not as_json:
        say("[yellow]there is no browser here:[/] open the file on a machine that has one")


def _write(file: Path, data: bytes, *, own: bool) -> None:
    try:
        if own:
            file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, data)
    except OSError as error:
        raise Misconfigured(f"{file} cannot be written: {error}.", remedy="Name a file in a directory.") from None
