"""`slipway redeploy`: release a profile, watching it."""

from __future__ import annotations

import atexit
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Any

import typer

from flows import server
from slipway.cli import live
from slipway.cli.approval import ask_in_terminal
from slipway.cli.output import friendly_errors, out, print_json, say, show_verdicts
from slipway.cli.plan import show_plan
from slipway.errors import ERROR_KINDS, Crashed, Misconfigured, SlipwayError
from slipway.profile import Overrides, load_profile, overridden, parse_overrides
from slipway.profile.load import is_file
from slipway.records.events import Observer, StageEvent, observed_by
from slipway.records.ledger import Ledger
from slipway.records.record import ReleaseRecord
from slipway.stages.approval import asked_by, nobody
from slipway.stages.surroundings import home, open_platform
from slipway.units import show_seconds, show_usd


class Ask(StrEnum):
    """Whether somebody decides before users are switched."""

    PROFILE = "as the profile says"
    ALWAYS = "always"
    NEVER = "never"


def redeploy(  # noqa: PLR0913 - one parameter for each option: typer reads them from the signature
    profile: Annotated[str, typer.Argument(help="Profile's name, or path of a YAML file.")] = "miniature",
    *,
    revision: Annotated[str | None, typer.Option(help="Commit of the weights to release instead.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image of the engine to use instead.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Another limit, GATE:at_most=VALUE; may be repeated.", metavar="LIMIT")
    ] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="Budget of this run in US dollars.")] = None,
    max_run_s: Annotated[float | None, typer.Option(help="Deadline of this run in seconds.")] = None,
    strategy: Annotated[str | None, typer.Option(help="`candidate`, or `in_place` of the live release.")] = None,
    approval: Annotated[
        Ask, typer.Option(help="Whether somebody decides before users are switched; never: what needs it is rejected.")
    ] = Ask.PROFILE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Events and the record as JSON lines.")] = False,
) -> None:
    """Release a profile: promoted (exit 0), rejected (1), wrong configuration (2), infrastructure (3)."""
    with friendly_errors(as_json=as_json):
        overrides = parse_overrides(
            revision=revision,
            image=image,
            limits=[parse_limit(given) for given in limit or ()],
            max_cost_usd=max_cost_usd,
            max_run_s=max_run_s,
            strategy=strategy,
        )
        chosen = overridden(load_profile(profile), overrides)
        if dry_run:
            show_plan(chosen, as_json=as_json)
            return
        platform = open_platform(chosen.platform)
        seen: list[str] = []

        def note(event: StageEvent) -> None:
            if event.release_id:  # a run that waits for another one has none yet
                seen.append(event.release_id)

        try:
            with _observer(as_json=as_json) as observer, observed_by(observer), observed_by(note):
                state = _run_flow(profile, overrides, approval, as_json=as_json)
        except KeyboardInterrupt:
            if not seen:
                raise
        else:
            if not seen:
                kind = ERROR_KINDS.get(state.name or "", Crashed)
                raise kind(state.message or "The flow ended before it began.", remedy="")
        record = Ledger(platform).load(seen[-1])
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        _show_result(record, platform.live_url(record.app))
    raise typer.Exit(SlipwayError.exit_code if record.exit_code is None else record.exit_code)


@contextmanager
def _observer(*, as_json: bool) -> Iterator[Observer]:
    if as_json:
        yield live.json_lines
    else:
        with live.display(out) as observer:
            yield observer


def parse_limit(text: str) -> dict[str, str]:
    """`ttft_s.p50@chat:at_most=0.4` as the fields of a `Limit`.

    Raises:
        Misconfigured: If it is written otherwise.
    """
    found = re.fullmatch(r"(?P<gate>[^:]+):(?P<kind>at_most|at_least|worse_by)=(?P<value>[^=]+)", text)
    if found is None:
        raise Misconfigured(
            f"The limit {text!r} cannot be read.",
            remedy="Write GATE:at_most=VALUE, GATE:at_least=VALUE or GATE:worse_by=SHARE, as in "
            "`ttft_s.p50@chat:at_most=0.4`.",
        )
    return {"gate": found["gate"], found["kind"]: found["value"]}


def _run_flow(profile: str, overrides: Overrides, approval: Ask, *, as_json: bool) -> Any:
    """Run the flow in this process; Prefect's server is the user's, or one that ends with this process."""
    with _asking(approval, as_json=as_json):
        return _flow(profile, overrides, approval)


@contextmanager
def _asking(approval: Ask, *, as_json: bool) -> Iterator[None]:
    """Who is asked for approval: whoever sits at this terminal, else whoever looks at Prefect's pages.

    Where there is neither, nobody: a pipeline shall not wait for an hour. Who asks for it by `--approval always` has
    somebody who answers by `slipway approve`.
    """
    if sys.stdin.isatty() and not as_json:
        with asked_by(ask_in_terminal):
            yield
    elif server.is_configured() or approval is Ask.ALWAYS:
        yield
    else:
        with asked_by(nobody):
            yield


def _flow(profile: str, overrides: Overrides, approval: Ask) -> Any:
    server.log_to_server_only()
    own = None if server.is_configured() else server.start_prefect_server(home() / "prefect")
    if own:
        atexit.register(own.stop)
    flows = import_module("flows.redeploy")  # takes seconds: other commands do without, and the server boots meanwhile
    if own:
        server.wait_until_up(own)
    place = {"profile_file" if is_file(profile) else "profile": profile}
    return flows.redeploy(**place, overrides=overrides, approval=approval.value, return_state=True)


def _show_result(record: ReleaseRecord, url: str) -> None:
    show_verdicts(record.verdicts)
    word = record.outcome.value.replace("_", " ")
    colour = "green" if record.exit_code == 0 else "red"
    say(f"[bold {colour}]{word}[/] {record.release_id}:", record.reason)
    work_s = sum(stage.seconds for stage in record.stages)
    took = f"{show_seconds(work_s)} in stages, {show_seconds(record.overhead_s)} overhead, {show_usd(record.cost_usd)}"
    say(took + f"; `slipway show {record.release_id}` has the whole record")
    if record.exit_code == 0:
        say(f"users reach it at {url}/v1; `slipway stop {record.app}` ends it")
