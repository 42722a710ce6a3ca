"""`slipway explain`: the long form of a rule of preflight, or of a fault that only a running engine tells."""

from __future__ import annotations

import difflib
from typing import Annotated, Final

import typer

from slipway.cli.output import friendly_errors, out, print_json, say, table
from slipway.engine.log_faults import CAUSES, Cause
from slipway.errors import Misconfigured
from slipway.preflight.rule import Rule
from slipway.preflight.rules import RULES

FAULTS: Final = {cause.rule: cause for cause in CAUSES if cause.rule not in RULES}
"""What no profile tells beforehand, by the id in an engine's end."""


def explain(
    rule: Annotated[str | None, typer.Argument(help="The id in a finding, or in an engine's end; none: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The rule as JSON.")] = False,
) -> None:
    """Say when a rule of preflight applies, what happens then, what to do, and where that is known from.

    Faults that only a running engine tells are explained likewise.
    """
    with friendly_errors(as_json=as_json):
        if rule is None:
            _show_all(as_json=as_json)
        elif fault := FAULTS.get(rule):
            _show_fault(fault, as_json=as_json)
        else:
            _show(_named(rule), as_json=as_json)


def _named(name: str) -> Rule:
    if found := RULES.get(name):
        return found
    near = difflib.get_close_matches(name, [*RULES, *FAULTS], n=3, cutoff=0.4)
    raise Misconfigured(
        f"There is no rule {name!r}.",
        remedy=f"Did you mean {' or '.join(near)}?" if near else "`slipway explain` lists all of them.",
    )


def _show(rule: Rule, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(rule))
        return
    say(f"[bold]{rule.id}[/]", f"({rule.severity}, for {rule.where})\n")
    for title, text in (
        ("Applies when:", rule.when),
        ("What happens:", rule.happens[:1].upper() + rule.happens[1:]),
        ("What to do:", rule.remedy),
        ("Known from:", rule.source),
    ):
        say(f"[bold]{title}[/]", text)
    say("\nTo accept it for a time, waive it in the profile (docs/rules.md):\n")
    out.print(f"    waivers:\n      - {{rule: {rule.id}, reason: …, expires: YYYY-MM-DD}}")


def _show_fault(fault: Cause, *, as_json: bool) -> None:
    if as_json:
        print_json({
            "rule": fault.rule, "happens": fault.means, "remedy": fault.remedy, "log": fault.pattern.pattern,
        })  # fmt: skip
        return
    say(f"[bold]{fault.rule}[/]", "(a running engine's; no profile tells it beforehand)\n")
    for title, text in (
        ("What happens:", fault.means),
        ("What to do:", fault.remedy),
        ("Known by:", f"a line of the engine's log that matches {fault.pattern.pattern}"),
    ):
        say(f"[bold]{title}[/]", text)


def _show_all(*, as_json: bool) -> None:
    if as_json:
        print_json([_document(rule) for rule in RULES.values()])
        return
    table("rule", "severity", "applies when", rows=[(r.id, r.severity.value, r.when) for r in RULES.values()])
    table("fault of a running engine", "what happens", rows=[(fault.rule, fault.means) for fault in FAULTS.values()])


def _document(rule: Rule) -> dict[str, str]:
    return {
        "rule": rule.id,
        "severity": rule.severity.value,
        "for": rule.where,
        "when": rule.when,
        "happens": rule.happens,
        "remedy": rule.remedy,
        "source": rule.source,
    }
