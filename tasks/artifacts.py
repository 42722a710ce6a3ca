"""What runs leave in Prefect's pages, each under a key of its own, so that the pages show its history over runs.

A page less is no reason to end a release: while Prefect's server cannot be reached, the loss is logged and the
run goes on. The record in the ledger has the same and more.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

logger = logging.getLogger(__name__)


def markdown(key: str, text: str, description: str = "") -> None:
    """A page of Markdown."""
    _publish(key, lambda: create_markdown_artifact(key=key, markdown=text, description=description))


def table(key: str, rows: Sequence[Mapping[str, Any]], description: str = "") -> None:
    """A table; figures that JSON does not have, such as infinity, are written out."""
    shown = [{name: _in_json(value) for name, value in row.items()} for row in rows]
    _publish(key, lambda: create_table_artifact(key=key, table=shown, description=description))


def image(key: str, address: str, description: str = "") -> None:
    """A picture, by its address; `data:` addresses need no other server."""
    _publish(key, lambda: create_image_artifact(image_url=address, key=key, description=description))


def progress(key: str, percent: float, note: str, known: UUID | None) -> UUID | None:
    """A bar: made if there is none yet, else moved. Its id, or None where it could not be made."""
    if known is None:
        made = _publish(key, lambda: create_progress_artifact(percent, key=key, description=note))
        return cast("UUID | None", made)  # its functions are called where no event loop runs
    _publish(key, lambda: update_progress_artifact(known, percent, description=note))
    return known


def _publish(key: str, publish: Callable[[], Any]) -> Any:
    try:
        return publish()
    except httpx.HTTPError as error:
        logger.warning("Artifact %s is lost, Prefect's server cannot be reached: %r", key, error)
        return None


def _in_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
