"""A flow in this process: its stages are shown as they go, its record at the end, with the exit code that it names."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer

from flows import server
from slipway.cli import live
from slipway.cli.output import out, print_json, say, show_verdicts
from slipway.errors import ERROR_KINDS, Crashed, SlipwayError
from slipway.platforms.port import Platform
from slipway.profile import Profile
from slipway.profile.load import is_file
from slipway.records.events import Observer, StageEvent, observed_by
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome, ReleaseRecord
from slipway.stages.surroundings import home, open_platform
from slipway.units import show_seconds, show_usd


def run_and_exit(flow: str, profile: str, chosen: Profile, *, as_json: bool, **parameters: Any) -> None:
    """Run a flow to its end, whatever that is, show the record, and end the command.

    Args:
        flow: Where it is: `module:function` below `flows`.
        profile: The profile's name or path, as it was typed.
        chosen: The profile with what this run overrides.
        as_json: Print events and the record as JSON lines.
        parameters: What else the flow is given.

    Raises:
        SlipwayError: If the run ended before it had a record; of the kind that its final state names.
        typer.Exit: With the exit code of the record.
    """
    platform = open_platform(chosen.platform)
    record = _run(platform, flow, profile, parameters, as_json=as_json)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        _show_result(record, platform)
    raise typer.Exit(SlipwayError.exit_code if record.exit_code is None else record.exit_code)


def _run(platform: Platform, flow: str, profile: str, parameters: dict[str, Any], *, as_json: bool) -> ReleaseRecord:
    seen: list[str] = []

    def note(event: StageEvent) -> None:
        if event.release_id:  # a run that waits for another one has none yet
            seen.append(event.release_id)

    try:
        with _observer(as_json=as_json) as observer, observed_by(observer), observed_by(note):
            state = _call(flow, profile, parameters)
    except KeyboardInterrupt:
        if not seen:
            raise
    else:
        if not seen:
            kind = ERROR_KINDS.get(state.name or "", Crashed)
            raise kind(state.message or "The flow ended before it began.", remedy="")
    return Ledger(platform).load(seen[-1])


@contextmanager
def _observer(*, as_json: bool) -> Iterator[Observer]:
    if as_json:
        yield live.json_lines
    else:
        with live.display(out) as observer:
            yield observer


def _call(flow: str, profile: str, parameters: dict[str, Any]) -> Any:
    """The final state. Prefect's server is the user's, or one that ends with this process."""
    server.log_to_server_only()
    own = None if server.is_configured() else server.start_prefect_server(home() / "prefect")
    if own:
        atexit.register(own.stop)
    module, _, function = flow.partition(":")
    flows = import_module(f"flows.{module}")  # takes seconds: other commands do without, and the server boots meanwhile
    if own:
        server.wait_until_up(own)
    place = {"profile_file" if is_file(profile) else "profile": profile}
    return getattr(flows, function)(**place, **parameters, return_state=True)


def _show_result(record: ReleaseRecord, platform: Platform) -> None:
    show_verdicts(record.verdicts)
    word = record.outcome.value.replace("_", " ")
    colour = "green" if record.exit_code == 0 else "red"
    say(f"[bold {colour}]{word}[/] {record.release_id}:", record.reason)
    work_s = sum(stage.seconds for stage in record.stages)
    took = f"{show_seconds(work_s)} in stages, {show_seconds(record.overhead_s)} overhead, {show_usd(record.cost_usd)}"
    say(took + f"; `slipway show {record.release_id}` has the whole record")
    if record.outcome is Outcome.PROMOTED:
        say(f"users reach it at {platform.live_url(record.app)}/v1; `slipway stop {record.app}` ends it")
