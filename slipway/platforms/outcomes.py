"""How a job ended, as JSON: written in its process, read by whoever waits for it."""

from __future__ import annotations

import importlib
import json
import traceback
from collections.abc import Callable
from typing import Any

from slipway.errors import ERROR_KINDS, Misconfigured, SlipwayError


def outcome(call: Callable[[], Any]) -> dict[str, Any]:
    """How a call ends: `{"result": …}`, or `{"error": {"kind", "message", "remedy"}}`; only interrupts are raised."""
    try:
        result = call()
        json.dumps(result)  # a result that is no JSON is the function's error, and told as one
    except SlipwayError as error:
        traceback.print_exc()
        return {"error": {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}}
    except KeyboardInterrupt:  # the machine is taken back: what was interrupted is run again on another
        raise
    except BaseException as error:  # noqa: BLE001  # whatever the function raises is its outcome
        traceback.print_exc()
        message = "".join(traceback.format_exception_only(error)).strip()
        return {"error": {"kind": None, "message": message, "remedy": ""}}
    return {"result": result}


def imported(reference: str) -> Callable[..., Any]:
    """The function that `package.module:name` names.

    Raises:
        Misconfigured: If there is none.
    """
    module, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Misconfigured(
            f"The job's function {reference} cannot be imported: {error}.",
            remedy="Name it as package.module:function, in a package that is installed here.",
        ) from error
    if not callable(function):
        raise Misconfigured(f"{reference} is not a function.", remedy="Name a function.")
    return function  # type: ignore[no-any-return]  # what a name leads to is only known at run time


def result_of(told: dict[str, Any], died: Callable[[str], Exception]) -> Any:
    """The result in an outcome.

    Args:
        told: What `outcome` gave.
        died: Makes the error for an end that the function did not mean, of how it ended.

    Raises:
        SlipwayError: The function's own.
    """
    if "result" in told:
        return told["result"]
    error = told["error"]
    if error["kind"] in ERROR_KINDS:
        raise ERROR_KINDS[error["kind"]](error["message"], remedy=error["remedy"])
    raise died(f"failed: {error['message']}")
