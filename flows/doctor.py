"""Whether Prefect is there as Slipway needs it: packages within their bounds, and a server that answers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.version import Version

from flows.server import is_configured
from slipway.platforms.check import Check, Health

TIMEOUT_S = 5.0


def examine_prefect() -> Iterator[Check]:
    """Look at what is installed, then at the server that is set up."""
    yield _packages()
    if not is_configured():
        yield Check("Prefect", Health.OK, "no server is set up: each command starts its own")
        return
    yield _server()


def _packages() -> Check:
    """Bounds are tight where Prefect breaks beyond them without a word (see pyproject.toml)."""
    wrong = []
    for text in metadata.requires("slipway") or ():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            there = "not installed"
        if there == "not installed" or not wanted.specifier.contains(there, prereleases=True):
            wrong.append(f"{wanted.name} {there} (wanted: {wanted.specifier})")
    if wrong:
        return Check("packages", Health.FAILED, "; ".join(wrong), "Run `make setup` in a fresh environment.")
    return Check("packages", Health.OK, f"all within their bounds, Prefect {metadata.version('prefect')}")


def _server() -> Check:
    """Whether the server that commands and workers use answers, and is not of another release."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - takes seconds, and only here
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings  # noqa: PLC0415 - with it

    url = PREFECT_API_URL.value()
    if not url:
        return Check("Prefect", Health.OK, "its settings name no server: each command starts its own")
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": TIMEOUT_S}, sync_client=True) as client,
    ):
        if trouble := client.api_healthcheck():
            said = " ".join(str(trouble).split()) or type(trouble).__name__
            remedy = "Start it (`make prefect`), or set PREFECT_API_URL to one that runs."
            return Check("Prefect", Health.FAILED, f"{url} does not answer: {said}", remedy)
        return _compared(url, server=client.api_version(), client=metadata.version("prefect"))


def _compared(url: str, *, server: str, client: str) -> Check:
    if Version(server).release[:2] == Version(client).release[:2]:
        return Check("Prefect", Health.OK, f"{server} at {url}")
    seen = f"the server at {url} is {server}, and {client} is installed here"
    return Check("Prefect", Health.WARNING, seen, f"Upgrade the server to {client}, or take its release here.")
