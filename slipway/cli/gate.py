"""`slipway gate`: judge an endpoint that runs anywhere, or judge again what was observed before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.headers import headers
from slipway.cli.output import friendly_errors, print_json, say, show_verdicts, working
from slipway.cli.stored import stored
from slipway.endpoint import Endpoint, base_url
from slipway.engine.client import server_info
from slipway.engine.drift import drift
from slipway.errors import Misconfigured, Rejected
from slipway.gates.answers import right_by_id
from slipway.gates.case import Case
from slipway.gates.evidence import Comparable, Evidence, Facts, save_facts
from slipway.gates.judge import judge
from slipway.gates.session import session
from slipway.gates.verdict import Verdict, blocking
from slipway.measure.awake import await_awake
from slipway.profile import Profile, Statistic, load_profile
from slipway.stages.check import gate_live
from slipway.stages.datasets import datasets_here
from slipway.stages.surroundings import home, open_platform
from slipway.units import utc_now


def gate(  # noqa: PLR0913 - one parameter for each option: typer reads them from the signature
    url: Annotated[str | None, typer.Argument(help="Base URL of the endpoint, with or without /v1.")] = None,
    *,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="Whose workloads and gates; `miniature`, or the release's own."),
    ] = None,
    again: Annotated[
        str | None, typer.Option("--from", help="Judge again: a folder of evidence, or a release's id.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Judge what serves the profile's app now.")] = False,
    save: Annotated[Path | None, typer.Option(help="Folder for the evidence; by default a new one.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Evidence to compare accuracy with, answer by answer: a folder or a release.")
    ] = None,
    release_id: Annotated[str | None, typer.Option(help="Release that must answer.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="Further header, K=V; may be repeated.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="PEM file of certificates to trust.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Verdicts as JSON.")] = False,
) -> None:
    """Measure an endpoint and judge it by a profile's gates; ends with 1 if one blocks.

    The API key is read from the environment variable that the profile names in api_key_secret.
    """
    with friendly_errors(as_json=as_json):
        chosen = load_profile(profile or "miniature")
        if live:
            _show(_of_live(chosen, as_json=as_json), as_json=as_json)
            return
        if again is not None:
            evidence, own = stored(again)
            chosen = own if own and profile is None else chosen
        elif url is not None:
            endpoint = Endpoint(
                base_url(url),
                chosen.model.served_name,
                os.environ.get(chosen.api_key_secret),
                release_id,
                extra_headers=headers(header or []),
                ca_file=str(ca_file) if ca_file else None,
            )
            folder = save or home() / "evidence" / f"{utc_now():%Y%m%dT%H%M%S}"
            evidence = _observed(endpoint, chosen, folder, against, as_json=as_json)
        else:
            raise Misconfigured(
                "There is nothing to judge.", remedy="Give a URL, --live, or --from a folder or release."
            )
        _show(judge(chosen, evidence), as_json=as_json)


def _of_live(profile: Profile, *, as_json: bool) -> list[Verdict]:
    """Verdicts on what serves, by the same check as the nightly one: it is kept in the ledger."""
    with working("measuring") as tell:
        check, _ = gate_live(
            open_platform(profile.platform),
            profile,
            progress=lambda p: None if as_json else tell(f"{p.note}: {p.done:g} of {p.total:g} {p.unit}"),
        )
    return check.verdicts


def _observed(endpoint: Endpoint, profile: Profile, folder: Path, against: str | None, *, as_json: bool) -> Evidence:
    await_awake(endpoint, profile.scaling.startup_timeout_s)
    facts = Facts(drift=_drift(endpoint, profile), baseline=_answers_of(against, profile) if against else {})
    save_facts(folder, facts)
    with datasets_here(open_platform("local"), profile), working("measuring") as tell:
        evidence = session(
            endpoint,
            profile,
            folder,
            timeout_s=profile.scaling.request_timeout_s,
            progress=lambda p: None if as_json else tell(f"{p.note}: {p.done:g} of {p.total:g} {p.unit}"),
        )
    if not as_json:
        say("evidence:", str(folder))
    return evidence


def _drift(endpoint: Endpoint, profile: Profile) -> tuple[str, ...]:
    """What differs from the profile, where a gate asks; engines other than SGLang may not tell."""
    if not any(gate.metric == "config_drift" for gate in profile.gates):
        return ()
    try:
        return tuple(drift(profile, server_info(endpoint), endpoint.release_id))
    except Misconfigured as error:
        return (f"what is in force cannot be told: {error.message}",)


def _answers_of(name: str, profile: Profile) -> dict[str, Comparable]:
    """What other evidence answered, for the gates that compare answers."""
    evidence, _ = stored(name)
    gates = [gate for gate in profile.gates if gate.statistic is Statistic.DROP]
    return {
        str(gate.workload): Comparable(releases=(name,), right=right_by_id(Case(profile, gate, evidence)))
        for gate in gates
    }


def _show(verdicts: list[Verdict], *, as_json: bool) -> None:
    """The verdicts, and the exit code that follows from them."""
    if as_json:
        print_json([verdict.model_dump(mode="json") for verdict in verdicts])
    else:
        show_verdicts(verdicts)
    if failed := blocking(verdicts):
        if as_json:
            raise typer.Exit(Rejected.exit_code)
        raise Rejected(f"{len(failed)} of {len(verdicts)} gates block.", remedy="The reasons stand in the table.")
