"""What an image is called, `[host[:port]/]name[:tag][@digest]`, read as container tools read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slipway.errors import Misconfigured

DEFAULT_HOST: Final = "registry-1.docker.io"
"""Where an image without a host comes from: Docker Hub, by a convention that all container tools share."""

DEFAULT_TAG: Final = "latest"

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

_ALIASES: Final = {"docker.io": DEFAULT_HOST, "index.docker.io": DEFAULT_HOST}
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    r"(?:(?P<host>localhost(?::[0-9]+)?|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+)/)?"
    rf"(?P<name>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    rf"(?:@(?P<digest>{DIGEST.pattern}))?"
)
_LOOPBACK: Final = re.compile(r"localhost|127\.[0-9.]+")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image at a registry.

    Attributes:
        host: The registry, with its port if it has one.
        repository: The image's name there.
        tag: What may name other bytes tomorrow; None where only a digest is given.
        digest: What cannot.
    """

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def url(self) -> str:
        """Base of the repository's API; a registry on this machine is asked without TLS, as container tools do."""
        scheme = "http" if is_this_machine(self.host.partition(":")[0]) else "https"
        return f"{scheme}://{self.host}/v2/{self.repository}"


def parse_reference(image: str) -> ImageReference:
    """An image's name in its parts; without tag and digest the tag is `latest`.

    Raises:
        Misconfigured: If it is none.
    """
    found = _REFERENCE.fullmatch(image)
    if found is None:
        raise Misconfigured(
            f"{image!r} is no name of an image.", remedy="Write it as [host/]name:tag, or [host/]name:tag@sha256:…."
        )
    host = found["host"] or DEFAULT_HOST
    host = _ALIASES.get(host, host)
    name = found["name"]
    if host == DEFAULT_HOST and "/" not in name:
        name = f"library/{name}"
    tag = found["tag"] or (None if found["digest"] else DEFAULT_TAG)
    return ImageReference(host, name, tag, found["digest"])


def is_this_machine(host: str) -> bool:
    """Whether a host's name, without a port, is that of the machine that asks."""
    return _LOOPBACK.fullmatch(host) is not None


def digest_in(image: str | None) -> str | None:
    """The digest that an image's name ends in; None without one."""
    digest = (image or "").partition("@")[2]
    return digest if DIGEST.fullmatch(digest) else None
