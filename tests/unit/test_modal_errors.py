"""Modal's errors in Slipway's words: every class of the client has its place in the table."""

from __future__ import annotations

import builtins
import inspect

import aiohttp
import modal.exception
import pytest
from grpclib.exceptions import StreamTerminatedError

from slipway.errors import Corrupt, Crashed, Misconfigured, SlipwayError, Transient
from slipway.platforms.modal.errors import in_words, translated

OF_THE_CLIENT = [
    kind
    for _, kind in inspect.getmembers(modal.exception, inspect.isclass)
    if issubclass(kind, modal.exception.Error) and kind is not modal.exception.Error
]


def made(kind: type[Exception], said: str) -> Exception:
    return kind(said, "im-1") if kind is modal.exception.ImageBuildError else kind(said)


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        (modal.exception.ServiceError, Transient),
        (modal.exception.InternalError, Transient),
        (modal.exception.InternalFailure, Transient),
        (modal.exception.ConnectionError, Transient),
        (modal.exception.ResourceExhaustedError, Transient),
        (modal.exception.VolumeUploadTimeoutError, Transient),
        (modal.exception.MountUploadTimeoutError, Transient),
        (modal.exception.OutputExpiredError, Transient),
        (modal.exception.ConflictError, Transient),  # although it derives from InvalidError
        (StreamTerminatedError, Transient),
        (aiohttp.ClientConnectionError, Transient),
        (builtins.ConnectionResetError, Transient),
        (modal.exception.AuthError, Misconfigured),
        (modal.exception.PermissionDeniedError, Misconfigured),
        (modal.exception.NotFoundError, Misconfigured),
        (modal.exception.AlreadyExistsError, Misconfigured),
        (FileExistsError, Misconfigured),  # how the client's volumes say the same
        (modal.exception.InvalidError, Misconfigured),
        (modal.exception.UnimplementedError, Misconfigured),
        (modal.exception.VersionError, Misconfigured),
        (modal.exception.RequestSizeError, Misconfigured),
        (modal.exception.SerializationError, Misconfigured),
        (modal.exception.DataLossError, Misconfigured),
        (modal.exception.ImageBuildError, Misconfigured),
        (modal.exception.RemoteError, Crashed),
        (modal.exception.FunctionTimeoutError, Crashed),
    ],
)
def test_what_is_worth_another_attempt(kind: type[Exception], meaning: type[SlipwayError]) -> None:
    error = in_words(made(kind, "what it said"), "deploying glm51")
    assert type(error) is meaning
    assert error.message == f"Modal failed at deploying glm51: {kind.__name__}: what it said."
    assert error.remedy.endswith(".")


@pytest.mark.parametrize("kind", OF_THE_CLIENT)
def test_every_error_of_the_client_is_one_of_slipways(kind: type[Exception]) -> None:
    assert isinstance(in_words(made(kind, "x"), "looking"), SlipwayError)


def test_what_is_nobodys_error_stays_what_it_is() -> None:
    assert in_words(ValueError("x"), "looking") is None
    with pytest.raises(ZeroDivisionError), translated("looking"):
        _ = 1 / 0


def test_an_error_of_slipway_passes_as_it_is() -> None:
    error = Corrupt("x", remedy="y")
    with pytest.raises(Corrupt) as caught, translated("looking"):
        raise error
    assert caught.value is error


def test_the_cause_is_kept() -> None:
    cause = modal.exception.AuthError("token")
    with pytest.raises(Misconfigured) as caught, translated("looking"):
        raise cause
    assert caught.value.__cause__ is cause
