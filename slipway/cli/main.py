"""The `slipway` command. A command's module is imported when it is used: most take longer than a plan may."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections import UserDict
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

COMMANDS: Final = {
    "redeploy": "redeploy:redeploy",
    "precompile": "precompile:precompile",
    "plan": "plan:plan",
    "resolve": "resolve:resolve",
    "explain": "explain:explain",
    "preflight": "preflight:preflight",
    "doctor": "doctor:doctor",
    "gate": "gate:gate",
    "evals": "evals:evals",
    "measure": "measure:measure",
    "watch": "check:watch",
    "approve": "approval:approve",
    "reject": "approval:reject",
    "runs": "runs:runs",
    "show": "runs:show",
    "compare": "runs:compare",
    "report": "report:report",
    "rollback": "production:rollback",
    "stop": "production:stop",
    "keep-warm": "check:keep_warm",
    "datasets": "datasets:app",
    "weights": "weights:app",
}
"""Where each command is, in the order in which help shows them: module under `slipway.cli`, and function or app."""


class _OnUse(UserDict[str, Any]):
    """Commands by name, each made from its module when it is first asked for."""

    def __getitem__(self, name: str) -> Any:
        found = self.data[name]
        if isinstance(found, str):
            found = self.data[name] = _command(name, found)
        return found


class _Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _OnUse(COMMANDS)


def _command(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"slipway.cli.{module}"), attribute)
    command: Any
    if isinstance(found, typer.Typer):
        command = get_group(found)
    else:
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command()(found)
        command = get_command(alone)
    command.name = name
    return command


app = typer.Typer(
    name="slipway",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def slipway() -> None:
    """Releases an LLM endpoint: verified weights, precompiled kernels, honest gates, safe rollback."""


def spare_loopback_from_proxies() -> None:
    """What runs on this machine is reached directly, whatever proxy the environment names for the rest."""
    spared = [host for host in os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")).split(",") if host]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(dict.fromkeys([*spared, "127.0.0.1", "localhost"]))


def main() -> None:
    """Entry point; Ctrl-C ends with 130 and no traceback, and a run that was begun with the exit code of its record."""
    spare_loopback_from_proxies()
    # Looking for plugins, of which Slipway uses none, reads the metadata of every package there is.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Prefect makes half a million objects that stay: to look for garbage among them takes a second at the end alone.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    # Told to end, a run takes back what it began, as it does on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
