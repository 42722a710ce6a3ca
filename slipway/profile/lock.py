"""The lock beside a profile: what its image's tag and its model's branch named when they were resolved.

    deployments/profiles/glm51.yaml          written by people: a tag, a branch
    deployments/profiles/glm51.lock.yaml     written by `slipway resolve glm51`: a digest, a commit

Both are committed. A lock counts for exactly the names that it was made from, so that a change of the profile cannot
be released with the bytes of before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import AwareDatetime, Field, ValidationError

from slipway.errors import Misconfigured
from slipway.files import write_atomic
from slipway.profile.document import read_document
from slipway.profile.models import Profile
from slipway.profile.spec import Name, Spec
from slipway.registry.reference import DIGEST, digest_in

SUFFIX: Final = ".lock.yaml"

COMMIT: Final = re.compile(r"[0-9a-f]{40}")

Digest = Annotated[str, Field(pattern=rf"^{DIGEST.pattern}$")]

_HEADING: Final = (
    "# Written by `slipway resolve`. Commit it; resolve again when image or revision of the profile change.\n"
)


class ImageLock(Spec):
    """What an image's tag named."""

    image: str = Field(description="`engine.image`, as the profile had it.")
    digest: Digest = Field(description="What the tag named: an index of images for several machines, or one image.")
    amd64_digest: Digest = Field(description="The image for linux/amd64 in it, which is what containers run.")


class ModelLock(Spec):
    """What a revision of the weights named."""

    repo: str = Field(description="`model.repo`, as the profile had it.")
    revision: str = Field(description="`model.revision`, as the profile had it.")
    commit: str = Field(description="The commit that it named.", pattern=r"^[0-9a-f]{40}$")


class Lock(Spec):
    """What a profile named at one time. Parts in which nothing can move are left out."""

    profile: Name = Field(description="Name of the profile.")
    resolved_at: AwareDatetime = Field(description="When, in UTC.")
    image: ImageLock | None = Field(None, description="The engine's image.")
    model: ModelLock | None = Field(None, description="The weights.")


def floating_image(profile: Profile) -> str | None:
    """The image that may be another one tomorrow; None where it has a digest, or means nothing as on this host."""
    image = profile.engine.image
    return None if profile.platform == "local" or digest_in(image) else image


def floating_revision(profile: Profile) -> str | None:
    """The revision that may be another one tomorrow; None where it is a commit."""
    revision = profile.model.revision
    return None if COMMIT.fullmatch(revision) else revision


def needs_lock(profile: Profile) -> bool:
    """Whether something in a profile may be other bytes tomorrow."""
    return floating_image(profile) is not None or floating_revision(profile) is not None


def is_lock(path: Path) -> bool:
    """Whether a file is a lock, by its name."""
    return path.name.endswith(SUFFIX)


def lock_path(profile: Path) -> Path:
    """Where the lock of a profile's file is."""
    return profile.with_name(profile.stem + SUFFIX)


def read_lock(profile: Path) -> Lock | None:
    """The lock of a profile's file; None if there is none.

    Raises:
        Misconfigured: If it cannot be read.
    """
    path = lock_path(profile)
    try:
        return Lock.model_validate(read_document(path))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
        raise Misconfigured(
            f"{path} is not what `slipway resolve` writes: {wrong}.", remedy="Remove it, and resolve the profile again."
        ) from None


def write_lock(profile: Path, lock: Lock) -> Path:
    """Write the lock of a profile's file; where it is.

    Raises:
        Misconfigured: If it cannot be written.
    """
    path = lock_path(profile)
    text = yaml.safe_dump(lock.model_dump(mode="json", exclude_none=True), sort_keys=False)
    try:
        write_atomic(path, (_HEADING + text).encode())
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be written: {error}.", remedy="Copy the profile to a directory of yours, and resolve that."
        ) from None
    return path


def pinned(profile: Profile, lock: Lock, *, source: Path) -> Profile:
    """The profile with what its lock has for it: the image by digest, the weights by commit.

    Args:
        profile: As it is written.
        lock: Made from it.
        source: Where the lock is, for messages.

    Raises:
        Misconfigured: If the lock is of what the profile named before.
    """
    if wrong := list(disagreements(profile, lock)):
        raise Misconfigured(
            f"{source} is not of this profile any more: {'; '.join(wrong)}.",
            remedy="Run `slipway resolve` on it, and look at what changes.",
        )
    engine, model = profile.engine, profile.model
    if lock.image and floating_image(profile):
        engine = engine.model_copy(update={"image": f"{lock.image.image}@{lock.image.digest}"})
    if lock.model and floating_revision(profile):
        model = model.model_copy(update={"revision": lock.model.commit, "allow_floating": False})
    return profile.model_copy(update={"engine": engine, "model": model})


def disagreements(profile: Profile, lock: Lock) -> Iterator[str]:
    """Where a lock is not of what the profile names now, in words; what cannot move needs no lock."""
    image, revision = floating_image(profile), floating_revision(profile)
    locked = lock.image.image if lock.image else None
    if image not in {None, locked}:
        yield f"engine.image is {image}, and what was resolved is {locked or 'none'}"
    known = (lock.model.repo, lock.model.revision) if lock.model else None
    if revision is not None and known != (profile.model.repo, revision):
        yield f"the weights are {profile.model.repo} at {revision}, and what was resolved is {_named(lock.model)}"


def _named(model: ModelLock | None) -> str:
    return f"{model.repo} at {model.revision}" if model else "none"
