"""Profiles on disk: found by name or path, checked, and refused with words that help."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Hashable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from slipway.errors import Misconfigured
from slipway.profile.models import Profile

_UNSAID = frozenset({"missing", "value_error"})  # errors whose message says all; the input is a whole section
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 1


def profile_directory() -> Path:
    """Where the profiles that come with Slipway lie."""
    return Path(str(resources.files("deployments"))) / "profiles"


def profile_names() -> list[str]:
    """Names of the profiles that come with Slipway."""
    return sorted(path.stem for path in profile_directory().glob("*.yaml"))


def is_file(name_or_path: str) -> bool:
    """Whether a profile is named by the path of its file."""
    return Path(name_or_path).suffix in {".yaml", ".yml"}


def load_profile(name_or_path: str, *, revision: str | None = None) -> Profile:
    """Read a profile.

    Args:
        name_or_path: `miniature`, or a path ending in `.yaml`.
        revision: Commit of the weights to use in place of the profile's.

    Raises:
        Misconfigured: If it does not exist, is not YAML, or breaks a rule; all broken rules are named.
    """
    path = Path(name_or_path)
    if not is_file(name_or_path):
        path = profile_directory() / f"{name_or_path}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Misconfigured(
            f"There is no profile {name_or_path!r}.",
            remedy=f"Name one of {', '.join(profile_names())}, or give the path of a .yaml file.",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null byte in the path
        raise Misconfigured(f"{path} cannot be read: {error}.", remedy="Give a readable text file.") from None
    document = read_yaml(text, source=str(path))
    if revision is not None and isinstance(document, dict) and isinstance(document.get("model"), dict):
        document["model"]["revision"] = revision
    return parse_profile(document, source=str(path))


def read_yaml(text: str, *, source: str) -> Any:
    """The document in a YAML text.

    Raises:
        Misconfigured: If it is not YAML, or gives a key twice.
    """
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # PyYAML lets the last two through
        raise Misconfigured(f"{source} is not YAML: {error}.", remedy="Correct the file.") from None


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


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, of which PyYAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


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
