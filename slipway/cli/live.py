"""A run as it goes: one line a stage, with progress; plain lines where nobody watches, JSON lines for programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from slipway.cli.output import print_json
from slipway.platforms.port import Progress as Share
from slipway.records.events import Observer, StageEvent
from slipway.units import show_bytes, show_seconds

SIGNS = {
    "started": "[yellow]…[/]",
    "progress": "[yellow]…[/]",
    "done": "[green]✓[/]",
    "skipped": "[dim]-[/]",
    "failed": "[red]✗[/]",
}


def json_lines(event: StageEvent) -> None:
    """Observer: every event but progress as a line of JSON."""
    if event.kind != "progress":
        print_json(
            {
                "release_id": event.release_id,
                "stage": event.stage,
                "event": event.kind,
                "seconds": round(event.seconds, 3),
                "message": event.message,
            }
        )


class _Seconds(ProgressColumn):
    """Time of a stage: its own where it has ended, running where it has not."""

    def render(self, task: Task) -> Text:
        seconds = task.fields["took_s"] if task.fields["took_s"] is not None else task.elapsed or 0.0
        return Text(f"{show_seconds(seconds):>8}")


_shown: list[Progress] = []


@contextmanager
def suspended() -> Iterator[None]:
    """Leave the terminal to somebody else while the block runs."""
    for progress in _shown:
        progress.stop()
    try:
        yield
    finally:
        for progress in _shown:
            progress.start()


@contextmanager
def display(console: Console) -> Iterator[Observer]:
    """Show stages as they go; the observer to be given events."""
    if not console.is_terminal:
        yield lambda event: _plain(console, event)
        return
    columns = (
        TextColumn("{task.fields[sign]} {task.description:<18}"),
        _Seconds(),
        BarColumn(bar_width=18),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, expand=False) as progress:
        lines: dict[str, TaskID] = {}

        def show(event: StageEvent) -> None:
            if event.stage not in lines:
                lines[event.stage] = progress.add_task(event.stage, total=None, sign="", note="", took_s=None)
            ended = event.kind in {"done", "skipped", "failed"}
            share = event.progress
            progress.update(
                lines[event.stage],
                sign=SIGNS[event.kind],
                note=escape(_note(share) if share else event.message),
                took_s=event.seconds if ended else None,
                total=1.0 if ended else (share.total if share else None),
                completed=1.0 if ended else (share.done if share else 0.0),
            )

        _shown.append(progress)
        try:
            yield show
        finally:
            _shown.remove(progress)


def _plain(console: Console, event: StageEvent) -> None:
    if event.kind in {"done", "skipped", "failed"}:
        line = f"{event.stage:<18} {event.kind:<8} {show_seconds(event.seconds):>8}  {event.message}"
        console.print(line, markup=False, soft_wrap=True)


def _note(share: Share) -> str:
    if share.unit == "bytes":
        done, total = show_bytes(share.done), show_bytes(share.total) if share.total else "?"
        return f"{done} of {total} {share.note}".rstrip()
    return f"{share.done:g} of {share.total or 0:g} {share.unit} {share.note}".rstrip()
