"""Resolving a profile: asking registry and Hub what its tag and its branch name now, and whether that has changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from slipway.profile import Profile
from slipway.profile.lock import ImageLock, Lock, ModelLock, floating_image, floating_revision
from slipway.registry.image import digest_now, open_registry, resolve_image
from slipway.registry.reference import digest_in
from slipway.units import utc_now
from slipway.weights.hub import fetch_manifest


@dataclass(frozen=True, slots=True)
class Pin:
    """Something that a profile names, and which bytes that are.

    Attributes:
        field: Of the profile.
        named: What it names, by a tag or a branch.
        before: Digest or commit that it had when it was resolved last; None before that.
        now: Digest or commit that it has now.
    """

    field: str
    named: str
    before: str | None
    now: str

    @property
    def moved(self) -> bool:
        """Whether it names something else than before."""
        return self.before is not None and self.before != self.now


def resolve(profile: Profile, hub: str) -> Lock | None:
    """What the profile's image and revision name now; None if neither can move.

    An image that has its digest in the profile is asked for all the same: it may be gone, or for other machines.

    Args:
        profile: As it is written, without a lock.
        hub: Base URL of the Hub.

    Raises:
        Misconfigured: If there is no such image or revision, or it is refused.
        Corrupt: If the registry's digests and bytes differ.
        Transient: If registry or Hub cannot be reached.
    """
    image = _resolved_image(profile)
    revision = floating_revision(profile)
    model = profile.model
    weights = ModelLock(repo=model.repo, revision=revision, commit=_commit_now(profile, hub)) if revision else None
    if image is None and weights is None:
        return None
    return Lock(profile=profile.name, resolved_at=utc_now().replace(microsecond=0), image=image, model=weights)


def _resolved_image(profile: Profile) -> ImageLock | None:
    image = _image(profile)
    if image is None:
        return None
    registry, reference = open_registry(image)
    with registry:
        found = resolve_image(registry, reference)
    if not floating_image(profile):
        return None
    return ImageLock(image=image, digest=found.digest, amd64_digest=found.amd64_digest)


def _image(profile: Profile) -> str | None:
    """The image that is run; on this host there is none."""
    return None if profile.platform == "local" else profile.engine.image


def _commit_now(profile: Profile, hub: str) -> str:
    """A lock is what makes a branch or tag stand still, so it needs no `allow_floating`."""
    model = profile.model
    token = os.environ.get(model.token_secret) if model.token_secret else None  # public repositories want none
    return fetch_manifest(model.repo, model.revision, endpoint=hub, token=token, allow_floating=True).commit


def pins(lock: Lock | None, before: Lock | None) -> Sequence[Pin]:
    """What a new lock has, beside what the one before had for the same names."""
    old = _contents(before)
    return [Pin(field, named, old.get((field, named)), now) for (field, named), now in _contents(lock).items()]


def look(profile: Profile, lock: Lock | None, hub: str) -> Sequence[Pin]:
    """What can move, as it is now, beside what it was when it was resolved or written into the profile by digest.

    Args:
        profile: As it is written.
        lock: Made from it; None where there is none.
        hub: Base URL of the Hub.

    Raises:
        Misconfigured: If there is no such image or revision any more, or it is refused.
        Transient: If registry or Hub cannot be reached.
    """
    found, locked = [], _contents(lock)
    if image := _image(profile):
        registry, reference = open_registry(image)
        with registry:
            now = digest_now(registry, reference)
        found.append(Pin("engine.image", image, digest_in(image) or locked.get(("engine.image", image)), now))
    if floating_revision(profile):
        named = f"{profile.model.repo}@{profile.model.revision}"
        before = locked.get(("model.revision", named))
        found.append(Pin("model.revision", named, before, _commit_now(profile, hub)))
    return found


def _contents(lock: Lock | None) -> dict[tuple[str, str], str]:
    """Field of the profile and what it named, to digest or commit."""
    contents = {}
    if lock and lock.image:
        contents["engine.image", lock.image.image] = lock.image.digest
    if lock and lock.model:
        contents["model.revision", f"{lock.model.repo}@{lock.model.revision}"] = lock.model.commit
    return contents
