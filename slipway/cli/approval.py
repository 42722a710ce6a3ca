"""`slipway approve` and `slipway reject`: decide about a release that waits; and the same question in a terminal."""

from __future__ import annotations

import getpass
import select
import socket
import sys
import time
from typing import Annotated, Any, Final

import httpx
import typer
from rich.markdown import Markdown

from slipway.cli import live
from slipway.cli.output import friendly_errors, out, print_json, say
from slipway.errors import Misconfigured, Transient
from slipway.records.approval import Approval, Choice
from slipway.records.ledger import Ledger
from slipway.stages.approval import Answer, Question
from slipway.stages.run import Run
from slipway.stages.surroundings import open_platform

TIMEOUT_S: Final = 30.0
BUSY_S: Final = 60.0
"""So long Prefect's server may say that its database is locked: many runs on SQLite do that for some seconds."""

PAUSE_S: Final = 1.0
LETTERS: Final = {"a": Choice.APPROVE, "r": Choice.REJECT, "e": Choice.EXTEND}

ReleaseArgument = Annotated[str, typer.Argument(help="Release that waits; the run says its id.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides; you, on this machine, by default.")]
CommentOption = Annotated[str, typer.Option("--comment", help="Why, for whoever reads the record.")]
PlatformOption = Annotated[str, typer.Option("--platform", help="Whose ledger.")]
JsonOption = Annotated[bool, typer.Option("--json", help="What was decided, as JSON.")]


def approve(
    release_id: ReleaseArgument,
    by: ByOption = None,
    comment: CommentOption = "",
    extend: Annotated[bool, typer.Option("--extend", help="Measure anew what is undecided, doubled.")] = False,
    platform: PlatformOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Let a release that waits for approval be promoted, or have it measured longer."""
    _decide(release_id, Choice.EXTEND if extend else Choice.APPROVE, by, comment, platform, as_json=as_json)


def reject(
    release_id: ReleaseArgument,
    by: ByOption = None,
    comment: CommentOption = "",
    platform: PlatformOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Stop the candidate of a release that waits for approval; users keep what they have."""
    _decide(release_id, Choice.REJECT, by, comment, platform, as_json=as_json)


def _decide(release_id: str, choice: Choice, by: str | None, comment: str, platform: str, *, as_json: bool) -> None:
    with friendly_errors(as_json=as_json):
        waiting = _waiting(Ledger(open_platform(platform)), release_id)
        _resume(waiting, {"decision": choice.value, "decided_by": by or whoever(), "comment": comment})
    if as_json:
        print_json({"release_id": release_id, "decision": choice.value})
    else:
        say(f"[bold]{release_id}[/]:", f"{choice.value}; the run goes on in a few seconds")


def _waiting(ledger: Ledger, release_id: str) -> Approval:
    """The question that is open.

    Raises:
        Misconfigured: If there is none.
    """
    approvals = ledger.load(release_id).approvals
    if approvals and approvals[-1].decided_at is None and approvals[-1].flow_run_id:
        return approvals[-1]
    raise Misconfigured(
        f"{release_id} does not wait for approval.", remedy=f"`slipway show {release_id}` says how far it is."
    )


def _resume(waiting: Approval, decision: dict[str, Any]) -> None:
    """Hand a decision to the run that waits, by its Prefect server.

    Raises:
        Transient: If the server does not answer.
        Misconfigured: If it refuses.
    """
    url = f"{waiting.prefect_api_url}/flow_runs/{waiting.flow_run_id}/resume"
    try:
        response = _post(url, {"run_input": decision})
    except httpx.HTTPError as error:
        raise Transient(
            f"Prefect's server at {waiting.prefect_api_url} does not answer: {error}.",
            remedy="If the run has died, the next one closes its record; else decide in Prefect's pages.",
        ) from None
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise Transient(
            f"Prefect's server at {waiting.prefect_api_url} has been busy for {BUSY_S:.0f} s.",
            remedy="Decide again; the run waits until its deadline.",
        )
    said = response.json() if response.headers.get("content-type", "").startswith("application/json") else {}
    if not response.is_success or said.get("status") != "ACCEPT":
        reason = said.get("details", {}).get("reason") or response.text[:300]
        raise Misconfigured(f"The decision was not taken: {reason}.", remedy="Look at the run in Prefect's pages.")


def _post(url: str, body: dict[str, Any]) -> httpx.Response:
    """The server's answer, which is asked for again while the server says that it is busy."""
    deadline_s = time.monotonic() + BUSY_S
    while True:
        response = httpx.post(url, json=body, timeout=TIMEOUT_S)
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline_s:
            return response
        time.sleep(PAUSE_S)


def whoever() -> str:
    """Who sits at this machine, as a record names them."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def ask_in_terminal(run: Run, question: Question) -> Answer | None:  # noqa: ARG001 - an `Ask` is given the run
    """Put the question where the command runs; None if nobody answers in time."""
    choices = "[a]pprove, [r]eject" + (", [e]xtend measurements" if question.may_extend else "")
    deadline_s = time.monotonic() + question.timeout_s
    with live.suspended():
        out.print(Markdown(question.text))
        while True:
            out.print(f"{choices}? ", end="")
            line = _line(deadline_s - time.monotonic())
            if line is None:
                return None
            choice = LETTERS.get(line.strip().lower()[:1])
            if choice and (choice is not Choice.EXTEND or question.may_extend):
                return Answer(choice, whoever())


def _line(timeout_s: float) -> str | None:
    """A line that somebody types; None if nobody does in time, or the terminal is closed."""
    ready, _, _ = select.select([sys.stdin], [], [], max(timeout_s, 0.0))
    return sys.stdin.readline() or None if ready else None
