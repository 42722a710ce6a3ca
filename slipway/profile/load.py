"""Profiles on disk: found by name or path, checked, and refused with words that help."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from slipway.errors import Misconfigured
from slipway.profile.document import read_document
from slipway.profile.lock import is_lock, lock_path, pinned, read_lock
from slipway.profile.models import Profile

_UNSAID = frozenset({"missing", "value_error"})  # errors whose message says all; the input is a whole section
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 1


def profile_directory() -> Path:
    """Where the profiles that come with Slipway lie."""
    return Path(str(resources.files("deployments"))) / "profiles"


def profile_names() -> list[str]:
    """Names of the profiles that come with Slipway."""
    return sorted(path.stem for path in profile_directory().glob("*.yaml") if not is_lock(path))


def is_file(name_or_path: str) -> bool:
    """Whether a profile is named by the path of its file."""
    return Path(name_or_path).suffix in {".yaml", ".yml"}


def profile_path(name_or_path: str) -> Path:
    """The file of a profile, whether it is there or not."""
    return Path(name_or_path) if is_file(name_or_path) else profile_directory() / f"{name_or_path}.yaml"


def load_profile(name_or_path: str, *, revision: str | None = None) -> Profile:
    """Read a profile as it is released: with the digest and the commit that its lock has for it.

    Args:
        name_or_path: `miniature`, or a path ending in `.yaml`.
        revision: Commit of the weights to use in place of the profile's and the lock's.

    Raises:
        Misconfigured: If it does not exist, is not YAML, or breaks a rule, of which all are named; or if its lock is
            of what it was before.
    """
    path = profile_path(name_or_path)
    profile = read_profile(name_or_path, revision=revision)
    lock = read_lock(path)
    return pinned(profile, lock, source=lock_path(path)) if lock else profile


def read_profile(name_or_path: str, *, revision: str | None = None) -> Profile:
    """Read a profile as it is written, whatever its lock says.

    Raises:
        Misconfigured: If it does not exist, is not YAML, or breaks a rule; all broken rules are named.
    """
    path = profile_path(name_or_path)
    try:
        document = read_document(path)
    except FileNotFoundError:
        raise Misconfigured(
            f"There is no profile {name_or_path!r}.",
            remedy=f"Name one of {', '.join(profile_names())}, or give the path of a .yaml file.",
        ) from None
    if revision is not None and isinstance(document, dict) and isinstance(document.get("model"), dict):
        document["model"]["revision"] = revision
    return parse_profile(document, source=str(path))


def parse_profile(document: Any, *, source: str) -> Profile:
    """Check a profile that was read.

    Raises:
        Misconfigured: Naming every field that is wrong and, for unknown keys, the nearest valid one.
    """
    try:
        return Profile.model_validate(document)
    except ValidationError as error:
        lines = [_explain(dict(detail)) for detail in error.errors()]
        raise Misconfigured(
            f"{source}: {len(lines)} thing(s) are wrong:\n  " + "\n  ".join(lines) + "\n",
            remedy="Correct the profile; `slipway plan` checks it again without any cost.",
        ) from None


def _explain(detail: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "profile"
    if detail["type"] != "extra_forbidden":
        return f"{where}: {detail['msg'].removeprefix('Value error, ')}{_given(detail)}"
    near = difflib.get_close_matches(str(detail["loc"][-1]), _fields_at(detail["loc"][:-1]), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{where}: unknown key{hint}"


def _given(detail: dict[str, Any]) -> str:
    """What stood there, shortened; not where a secret's name is asked for: someone may have written the secret."""
    if detail["type"] in _UNSAID or any(str(part).endswith("_secret") for part in detail["loc"]):
        return ""
    unquoted = detail["type"] == "string_type" and not isinstance(detail["input"], list | dict)
    return f" (got {_SHORT.repr(detail['input'])}{'; write it in quotes' if unquoted else ''})"


def _fields_at(location: Sequence[int | str]) -> list[str]:
    """Field names of the model that a location inside a profile belongs to."""
    model: type[BaseModel] = Profile
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None and (inner := _model_in(field.annotation)) is not None:
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)
