"""What Modal has to say of itself before a release: client, token, secrets, volumes, candidates that were left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Final

import modal

from slipway.errors import SlipwayError
from slipway.platforms.check import Check, Health, Needs
from slipway.platforms.modal import handles
from slipway.platforms.modal.errors import translated
from slipway.platforms.modal.secrets import Secrets

TESTED: Final = "1.6.4"
"""The client that Slipway's tests run."""

GPUS_OF_SMALLEST_PLAN: Final = 10
"""GPUs at once on Modal's Starter plan (its pricing page, 2026-10)."""


def diagnose(needs: Needs, secrets: Secrets) -> Iterator[Check]:
    """Look at the environment; nothing is made or changed.

    Args:
        needs: What a release asks for.
        secrets: Values that are known here.
    """
    yield _client()
    token = _token()
    yield token
    if token.health is Health.FAILED:
        return
    for name in needs.secrets:
        yield _secret(name, secrets)
    yield _volumes(needs)
    if needs.gpus:
        yield _gpus(needs.gpus)


def _client() -> Check:
    there = metadata.version("modal")
    if there.split(".")[:2] == TESTED.split(".")[:2]:
        return Check("Modal's client", Health.OK, f"{there}; tests run {TESTED}")
    return Check("Modal's client", Health.WARNING, f"{there}, but tests run {TESTED}", f"pip install modal=={TESTED}")


def _token() -> Check:
    environment = handles.environment() or "the workspace's default"
    try:
        with translated("asking who we are"):
            modal.Client.from_env().hello()
    except SlipwayError as error:
        return Check("Modal's token", Health.FAILED, error.message, error.remedy)
    return Check("Modal's token", Health.OK, f"is accepted; environment: {environment}")


def _secret(name: str, secrets: Secrets) -> Check:
    what = f"secret {name}"
    if _is_there(modal.Secret.from_name(name, required_keys=[name]).hydrate):
        try:
            secrets.value(name)
        except SlipwayError:
            remedy = f"Run with {name}=… in the environment: Modal does not give values back."
            return Check(what, Health.WARNING, "is at Modal; its value is not known here", remedy)
        return Check(what, Health.OK, "is at Modal")
    try:
        secrets.value(name)
    except SlipwayError as error:
        return Check(what, Health.FAILED, f"is not at Modal. {error.message}", f"modal secret create {name} {name}=…")
    return Check(what, Health.OK, "is made at Modal by the first run")


def _volumes(needs: Needs) -> Check:
    there = [name for name in needs.volumes if _is_there(modal.Volume.from_name(name).hydrate)]
    makes = "" if len(there) == len(needs.volumes) else "; a run makes the others"
    return Check("volumes", Health.OK, f"{len(there)} of {len(needs.volumes)} are there{makes}")


def _gpus(needed: int) -> Check:
    seen = f"{needed} GPUs are held at once while one release takes over from another"
    if needed <= GPUS_OF_SMALLEST_PLAN:
        return Check("GPUs", Health.OK, seen)
    remedy = "Use a plan that allows them, or `strategy: in_place`."
    return Check("GPUs", Health.WARNING, f"{seen}; Modal's smallest plan allows {GPUS_OF_SMALLEST_PLAN}", remedy)


def _is_there(hydrate: Callable[[], object]) -> bool:
    with contextlib.suppress(modal.exception.NotFoundError, modal.exception.InvalidError):
        hydrate()
        return True
    return False
