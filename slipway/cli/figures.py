"""Figures of a measurement as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from slipway.cli.output import out, say, table
from slipway.measure.sweep import Knee, Point
from slipway.units import show_seconds

_STATISTICS: Final = ("mean", "p50", "p90", "p95", "p99")
_TIMES: Final = {
    "ttft_s": "TTFT",
    "answer_s": "first answer token",
    "tpot_s": "TPOT",
    "event_gap_s": "event gap",
    "e2e_s": "E2E",
    "ttft_from_schedule_s": "TTFT from schedule",
    "e2e_from_schedule_s": "E2E from schedule",
    "queue_s": "queue",
}
_RATES: Final = {
    "output_tokens_per_s": "output tokens/s",
    "total_tokens_per_s": "all tokens/s",
    "tokens_per_event": "tokens per event",
}


def show_report(document: dict[str, Any]) -> None:
    """The figures of one run, what is missing from them, and whether they count."""
    times = [
        (label, *(show_seconds(document[name][statistic]) for statistic in _STATISTICS))
        for name, label in _TIMES.items()
        if document.get(name)
    ]
    table("", *_STATISTICS, rows=times, title=f"{document['model']} at {document['url']}")
    failed = document["requests_failed"]
    counts = [("requests", f"{document['requests_ok']}" + (f", {failed} failed" if failed else ""))]
    counts.append(("tokens", f"{document['prompt_tokens']:,} in, {document['output_tokens']:,} out"))
    counts += [(label, f"{document[name]:,.4g}") for name, label in _RATES.items() if document[name] is not None]
    if lengths := document["accept_length"]:
        counts.append(("accept length", f"{lengths['mean']:.3f}"))
    table("", "", rows=counts)
    for error, times_seen in document["errors"].items():
        say(f"[red]{times_seen} x[/]", error)
    for name, reason in document["absent"].items():
        say(f"no {name}:", reason)
    for note in document["notes"]:
        say("[yellow]note:[/]", note)
    for complaint in document["invalid_because"]:
        say("[bold red]invalid:[/]", complaint)


def show_ladder(points: Sequence[Point], knee: Knee) -> None:
    """The rungs of a ladder with the knee marked, and why it is there."""
    table(
        "streams",
        "output tokens/s",
        "TTFT p50",
        "TTFT p95",
        "TPOT p50",
        "failed",
        "",
        rows=[
            (
                str(each.concurrency),
                f"{each.output_tokens_per_s:,.4g}",
                show_seconds(each.ttft_p50_s),
                show_seconds(each.ttft_p95_s),
                show_seconds(each.tpot_p50_s),
                str(each.requests_failed),
                "knee" if knee.found and each == knee.point else "",
            )
            for each in points
        ],
    )
    out.print(knee.reason, soft_wrap=True)
