"""One registry as a client sees it: tokens, waiting when told to, redirects, and an end to all of it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self

import httpx
import orjson

from slipway.errors import Misconfigured, SlipwayError, Transient
from slipway.registry.reference import ImageReference, is_this_machine
from slipway.units import MIB, show_bytes, utc_now

DEADLINE_S: Final = 60.0
"""For one image, with all waiting."""

READ_TIMEOUT_S: Final = 10.0
ATTEMPTS: Final = 4
MAX_REDIRECTS: Final = 5

MOST_BYTES: Final = 4 * MIB
"""Of one answer; the distribution specification asks registries to take manifests up to this size."""

_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PARAMETER: Final = re.compile(r'([a-z_]+)="([^"]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account at a registry."""

    username: str
    password: str

    @property
    def header(self) -> str:
        """As HTTP's Basic scheme has it."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, …)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def media_type(self) -> str:
        """Type of the body, without parameters."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()


class Registry:
    """The repository of one image; a context manager, which holds connections.

    Args:
        image: Whose repository.
        credentials: For private ones; public ones want none.
        deadline_s: Time for all that is asked.
        pause: Waits so many seconds.
    """

    def __init__(
        self,
        image: ImageReference,
        credentials: Credentials | None = None,
        *,
        deadline_s: float = DEADLINE_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._image = image
        self._credentials = credentials
        self._pause = pause
        self._ends_s = time.monotonic() + deadline_s
        self._authorization: str | None = None
        self._http = httpx.Client()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(self, path: str, *, accept: str = "*/*", method: str = "GET") -> Answer:
        """The answer to one request, which is a success.

        Args:
            path: Below the repository, such as `manifests/v1`.
            accept: Media types that are understood.
            method: `GET` or `HEAD`.

        Raises:
            Misconfigured: If it is not there, refused, or this is no registry.
            Transient: If the registry cannot be reached, is busy, or takes too long.
        """
        url = f"{self._image.url}/{path}"
        answer = self._patiently(method, url, accept, self._authorization)
        if answer.status == httpx.codes.UNAUTHORIZED and self._authorization is None:
            self._authorization = self._authorize(answer)
            answer = self._patiently(method, url, accept, self._authorization)
        if answer.status != httpx.codes.OK:
            raise self._refused(answer)
        return answer

    def not_a_registry(self, why: str) -> Misconfigured:
        """The error that says so."""
        return Misconfigured(
            f"{self._image.host} does not answer as an image registry does: {why}.",
            remedy="Check engine.image, and any proxy on the way to the registry.",
        )

    def _patiently(self, method: str, url: str, accept: str, authorization: str | None) -> Answer:
        """Ask again while the registry is busy and there is time."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        if authorization is not None:
            headers["Authorization"] = authorization
        for attempt in range(1, ATTEMPTS + 1):
            wait_s = 2.0 ** (attempt - 1)
            try:
                answer = self._once(method, url, headers)
            except httpx.HTTPError as error:
                trouble = self._unreachable(error)
            else:
                if answer.status not in _BUSY:
                    return answer
                trouble, wait_s = self._refused(answer), _asked_to_wait_s(answer) or wait_s
            if not isinstance(trouble, Transient) or attempt == ATTEMPTS or wait_s > self._left_s():
                raise trouble
            self._pause(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        """One answer, behind redirects; the client takes what authorises away before it asks another host."""
        request = self._http.build_request(method, url, headers=headers, timeout=min(READ_TIMEOUT_S, self._left_s()))
        for _ in range(MAX_REDIRECTS + 1):
            if not _is_safe(request.url):
                raise self.not_a_registry(f"it leads to {request.url.host!r} without TLS")
            response = self._http.send(request, stream=True)
            try:
                if response.next_request is None:
                    return Answer(response.status_code, response.headers, self._body(response))
                request = response.next_request
            finally:
                response.close()
        raise self.not_a_registry(f"it redirects more than {MAX_REDIRECTS} times")

    def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:
                raise self.not_a_registry(f"its answer is longer than {show_bytes(MOST_BYTES)}")
            self._left_s()
        return bytes(body)

    def _left_s(self) -> float:
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise Transient(f"{self._image.host} took too long to answer.", remedy="Run again in a minute.")
        return left_s

    def _authorize(self, challenge: Answer) -> str:
        """What the registry asks for before it answers: an account, or a token that another server gives."""
        header = challenge.headers.get("www-authenticate", "")
        scheme, _, rest = header.partition(" ")
        if scheme.lower() == "basic" and self._credentials:
            return self._credentials.header
        if scheme.lower() != "bearer":
            raise self._refused(challenge)
        asked = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
        try:
            realm = httpx.URL(asked.pop("realm", ""))
        except httpx.InvalidURL:
            raise self.not_a_registry("it names no address for tokens") from None
        if not realm.host or not _is_safe(realm):
            raise self.not_a_registry(f"it wants a token from {str(realm)!r}")
        scope = asked.get("scope", f"repository:{self._image.repository}:pull")
        wanted = {"scope": scope} | ({"service": asked["service"]} if "service" in asked else {})
        return f"Bearer {self._token(realm.copy_merge_params(wanted))}"

    def _token(self, url: httpx.URL) -> str:
        account = self._credentials.header if self._credentials else None
        answer = self._patiently("GET", str(url), "application/json", account)
        if answer.status != httpx.codes.OK:
            raise self._refused(answer)
        try:
            document = orjson.loads(answer.body)
            token = document.get("token") or document.get("access_token")
        except (orjson.JSONDecodeError, AttributeError):
            token = None
        if not isinstance(token, str) or not token.isprintable():
            raise self.not_a_registry(f"{url.host} gives no token")
        return token

    def _unreachable(self, error: httpx.HTTPError) -> SlipwayError:
        if isinstance(error, httpx.UnsupportedProtocol | httpx.DecodingError | httpx.RemoteProtocolError):
            return self.not_a_registry(str(error) or type(error).__name__)
        said = " ".join(str(error).split()) or type(error).__name__
        return Transient(f"{self._image.host} cannot be reached: {said}.", remedy="Run again; check the network.")

    def _refused(self, answer: Answer) -> SlipwayError:
        """What an answer that is no success means, and what to do about it."""
        image = f"{self._image.repository} at {self._image.host}"
        if answer.status in _BUSY:
            wait_s = _asked_to_wait_s(answer)
            until = f" and asks to wait {wait_s:.0f} s" if wait_s else ""
            remedy = "Run again later; registries allow more with an account (REGISTRY_USERNAME, REGISTRY_PASSWORD)."
            return Transient(f"{self._image.host} is busy (HTTP {answer.status}){until}.", remedy=remedy)
        if answer.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return Misconfigured(
                f"The registry does not let us see {image} (HTTP {answer.status}): misspelt, private, or gone.",
                remedy="Check engine.image; for a private one set REGISTRY_USERNAME and REGISTRY_PASSWORD.",
            )
        if answer.status == httpx.codes.NOT_FOUND:
            wanted = self._image.digest or f"tag {self._image.tag}"
            return Misconfigured(f"There is no {wanted} of {image}.", remedy="Name a tag that exists in engine.image.")
        return self.not_a_registry(f"HTTP {answer.status}")


def _is_safe(url: httpx.URL) -> bool:
    return url.scheme == "https" or (url.scheme == "http" and is_this_machine(url.host))


def _asked_to_wait_s(answer: Answer) -> float | None:
    """The header Retry-After, in seconds or as a date; None where it says nothing of use."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until: datetime = parsedate_to_datetime(value)
        return max((until - utc_now()).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
