"""What a run prints, when nobody is left to read it: a worker that is killed must not end the run that it started.

The worker reads its runs' output through a pipe. When that breaks, rich, through which Prefect logs, ends the process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import partial

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console


def outlive_readers() -> None:
    """Let this process go on in silence when its output can no longer be written; its log goes to the server."""
    for console in _consoles():
        console.on_broken_pipe = partial(_fall_silent, console)  # type: ignore[method-assign]  # rich asks for a subclass


def _consoles() -> Iterator[Console]:
    names = list(logging.root.manager.loggerDict)
    for logger in (logging.root, *map(logging.getLogger, names)):
        for handler in logger.handlers:
            if isinstance(handler, PrefectConsoleHandler):
                yield handler.console


def _fall_silent(console: Console) -> None:
    console.quiet = True
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # one reader had both
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
