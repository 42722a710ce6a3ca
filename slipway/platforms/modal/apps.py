"""Apps at Modal: put there, looked at, stopped."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import modal
from modal.types import AppState

from slipway.errors import Crashed, Misconfigured, SlipwayError, Transient
from slipway.platforms.modal.errors import translated

TOLD_LINES: Final = 30
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Between attempts to stop an app, each of which the client repeats where it is worth it, and looks for a new one."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A version of an app as Modal numbers it; an app that was stopped begins anew with another id.

    Attributes:
        app_id: Which app.
        version: Which of its versions.
    """

    app_id: str
    version: int


def put(app: modal.App, name: str, *, tag: str) -> Deployed:
    """Deploy an app; old containers serve until new ones are up.

    Args:
        app: The app.
        name: Its name.
        tag: Shown in Modal's history.

    Returns:
        Its version.

    Raises:
        Misconfigured: If an image cannot be built, with the last lines of its log.
        Crashed: If the app is stopped at once.
    """
    with translated(f"deploying {name}"):
        try:
            app.deploy(name=name, tag=tag)
        except modal.exception.ImageBuildError as error:
            raise _unbuilt(name, error) from error
    return shown(name)


def _unbuilt(name: str, error: modal.exception.ImageBuildError) -> Misconfigured:
    """The reason of a build that failed, which is in the last lines of its log."""
    last = ""
    with contextlib.suppress(SlipwayError):  # the message without a log is told, too
        last = build_log(error.image_id or "", lines=TOLD_LINES)
    return Misconfigured(
        f"The image of {name} could not be built: {error}\n{last}".rstrip(),
        remedy="Nothing was changed. Correct the image; its last lines say what is wrong.",
    )


def build_log(image_id: str, *, lines: int) -> str:
    """The last lines that an image's build printed, whenever that was; of an image that was built before, its own."""
    with translated(f"reading how image {image_id} was built"):
        image: Any = modal.Image.from_id(image_id)
        printed = "".join(entry.message for entry in image.logs.tail(lines))
    return "\n".join(deque(printed.splitlines(), maxlen=lines))


def look(name: str) -> Deployed | None:
    """The version of an app that is deployed, or None."""
    with translated(f"looking at {name}"):
        app = _find(name)
        if app is None:
            return None
        info = app.info(refresh=True)
    if info.lifecycle.state is not AppState.DEPLOYED or info.lifecycle.version is None:
        return None
    return Deployed(info.app_id, info.lifecycle.version)


def shown(name: str) -> Deployed:
    """The version of an app that has just been deployed; Modal may take a moment to show it.

    Raises:
        Crashed: If it is not there.
    """
    for pause_s in PAUSES_S:
        if deployed := look(name):
            return deployed
        time.sleep(pause_s)
    raise Crashed(f"{name} was deployed and is gone.", remedy="Find out who stopped it, then run again.")


def stop(name: str) -> None:
    """End an app and all its containers. Harmless when there is none.

    It insists for a while: what is left running costs its GPUs until the next run finds it.
    """
    for pause_s in PAUSES_S:
        with contextlib.suppress(Transient):
            return _stop(name)
        time.sleep(pause_s)
    return _stop(name)


def _stop(name: str) -> None:
    with translated(f"stopping {name}"):
        if (app := _find(name)) is None:
            return
        with contextlib.suppress(modal.exception.NotFoundError):
            app.stop()
            return
    if look(name) is not None:
        raise Transient(f"Modal neither stops {name} nor says that it is gone.", remedy=f"`modal app stop {name}`.")


def log(app_id: str, *, lines: int) -> str:
    """The last lines that an app printed, also one that has ended."""
    with translated(f"reading the log of {app_id}"):
        try:
            printed = "".join(entry.message for entry in modal.App.lookup(app_id).logs.tail(lines))
        except modal.exception.NotFoundError:
            return ""
    return "\n".join(deque(printed.splitlines(), maxlen=lines))


def url_of(name: str, function: str) -> str:
    """The address of a web function.

    Raises:
        Misconfigured: If it has none.
    """
    with translated(f"looking for the address of {name}"):
        url = modal.Function.from_name(name, function).get_web_url()
    if not url:
        raise Misconfigured(f"{name} has no address.", remedy="Deploy it again; if it stays so, tell Modal.")
    return str(url).rstrip("/")


def _find(name: str) -> modal.App | None:
    try:
        return modal.App.lookup(name)
    except modal.exception.NotFoundError:
        return None
