"""Modal's errors in Slipway's words: one table, which says what is worth another attempt.

The client itself retries unavailability, deadlines and internal errors three times before it raises
(`modal._utils.grpc_utils`, 1.6.4); what arrives here has been tried.
"""

from __future__ import annotations

import builtins
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
from grpclib.exceptions import StreamTerminatedError
from modal import exception as modal_errors

from slipway.errors import Crashed, Misconfigured, SlipwayError, Transient

_AGAIN: Final = "Run again; if it stays so, look at Modal's status page."

KINDS: Final[tuple[tuple[tuple[type[BaseException], ...], type[SlipwayError], str], ...]] = (
    # ConflictError derives from InvalidError, so it comes first: another client changed the same thing meanwhile.
    ((modal_errors.ConflictError,), Transient, "Another client changed the same thing at the same time; run again."),
    ((modal_errors.ResourceExhaustedError,), Transient, "Wait until the limit or quota allows it, then run again."),
    (
        (
            modal_errors.ServiceError,
            modal_errors.InternalError,
            modal_errors.InternalFailure,
            modal_errors.ConnectionError,
            modal_errors.VolumeUploadTimeoutError,
            modal_errors.MountUploadTimeoutError,
            modal_errors.OutputExpiredError,
            modal_errors.LogsFetchError,
            StreamTerminatedError,
            aiohttp.ClientError,
            builtins.ConnectionError,
            builtins.TimeoutError,
            socket.gaierror,
        ),
        Transient,
        _AGAIN,
    ),
    ((modal_errors.AuthError,), Misconfigured, "Set a valid token: `modal token new`, or MODAL_TOKEN_ID and _SECRET."),
    ((modal_errors.PermissionDeniedError,), Misconfigured, "Use a token whose role and plan allow this."),
    ((modal_errors.NotFoundError,), Misconfigured, "Check the name, and MODAL_ENVIRONMENT."),
    ((modal_errors.AlreadyExistsError, FileExistsError), Misconfigured, "Remove what has that name, or use another."),
    ((modal_errors.UnimplementedError,), Misconfigured, "Use a plan and a version of the client that have this."),
    ((modal_errors.VersionError,), Misconfigured, "Install a version of the client that the server accepts."),
    ((modal_errors.ImageBuildError,), Misconfigured, "Correct what the last lines say."),
    ((modal_errors.FunctionTimeoutError,), Crashed, "Look for what took so long, or allow more."),
    ((modal_errors.RemoteError,), Crashed, "Read the container's log."),
    ((modal_errors.Error,), Misconfigured, "Correct what the message says."),
)
"""First match counts. What is not in the table is a defect, and stays what it is."""


def in_words(error: BaseException, doing: str) -> SlipwayError | None:
    """An error of the client as one of Slipway's; None for errors that are not the client's.

    Args:
        error: What the client raised.
        doing: What was being done, as in "deploying glm51".
    """
    for kinds, meaning, remedy in KINDS:
        if isinstance(error, kinds):
            said = str(error).strip().rstrip(".") or "no reason was given"
            return meaning(f"Modal failed at {doing}: {type(error).__name__}: {said}.", remedy=remedy)
    return None


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise errors of the client as Slipway's."""
    try:
        yield
    except SlipwayError:
        raise
    except Exception as error:
        if meant := in_words(error, doing):
            raise meant from error
        raise
