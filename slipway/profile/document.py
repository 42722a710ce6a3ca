"""YAML files that people write: read whole, and refused where they can mean two things."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from slipway.errors import Misconfigured


def read_document(path: Path) -> Any:
    """The document in a file.

    Raises:
        FileNotFoundError: If there is no such file.
        Misconfigured: If it cannot be read, is not YAML, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null byte in the path
        raise Misconfigured(f"{path} cannot be read: {error}.", remedy="Give a readable text file.") from None
    return read_yaml(text, source=str(path))


def read_yaml(text: str, *, source: str) -> Any:
    """The document in a YAML text.

    Raises:
        Misconfigured: If it is not YAML, or gives a key twice.
    """
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # PyYAML lets the last two through
        raise Misconfigured(f"{source} is not YAML: {error}.", remedy="Correct the file.") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, of which PyYAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)
