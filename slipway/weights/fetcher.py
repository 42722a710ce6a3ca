"""The process that talks to the Hub: `python -m slipway.weights.fetcher ORDER`.

It fetches files side by side, seals each when it is whole and moves it into place. It prints a line of JSON for
an error that ends it; files that are there say the rest. Its standard input is a lifeline: when the process that
watches over it is gone, it is killed. It is killed too when it stalls, so everything it leaves can be gone on
from: a file in `incoming` is named by its digest, and is resumed at its last byte.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from huggingface_hub import constants
from pydantic import BaseModel, ConfigDict, Field

from slipway.errors import SlipwayError, Transient
from slipway.processes import fork_guard
from slipway.units import MIB
from slipway.weights import layout
from slipway.weights.disk import DISK_ERRORS
from slipway.weights.hub import HubRevision, Transport, token_from
from slipway.weights.manifest import ManifestFile


class FetchOrder(BaseModel):
    """What is to be fetched, from where, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    commit: str
    endpoint: str | None
    token_env: str | None
    transport: Transport
    max_workers: int = Field(ge=1, description="Files fetched at the same time.")
    files: tuple[ManifestFile, ...]
    incoming: Path = Field(description="Where files are while they are not whole.")
    model_dir: Path = Field(description="Where they belong.")


class FetchError(BaseModel):
    """How it ended, when not well; an error of the disk by its number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    message: str
    remedy: str = ""
    errno: int = 0


def main(order_file: Path) -> int:
    """Carry out an order; the exit status is 0 when everything is there."""
    fork_guard(lifeline=0, group=os.getpgrp())
    constants.DOWNLOAD_CHUNK_SIZE = MIB  # what is lost of a stream that is cut, and how finely progress is seen
    order = FetchOrder.model_validate_json(order_file.read_bytes())
    try:
        fetch_all(order)
    except SlipwayError as error:
        _tell(FetchError(kind=type(error).__name__, message=error.message, remedy=error.remedy))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        _tell(FetchError(kind="OSError", message=os.strerror(error.errno), errno=error.errno))
    else:
        return 0
    return 1


def fetch_all(order: FetchOrder) -> None:
    """Fetch files side by side. After a failure those under way are finished and kept, and no more begun."""
    revision = HubRevision(order.repo, order.commit, order.endpoint, token_from(order.token_env))
    with ThreadPoolExecutor(order.max_workers, thread_name_prefix="fetch") as pool:
        pending = [pool.submit(_fetch, revision, file, order) for file in order.files]
        done, left = wait(pending, return_when=FIRST_EXCEPTION)
        for future in left:
            future.cancel()
    for future in done:
        future.result()


def _fetch(revision: HubRevision, file: ManifestFile, order: FetchOrder) -> None:
    """Fetch one file, seal it, and move it into place."""
    arrived = revision.fetch_file(file, order.incoming, transport=order.transport)
    size_bytes = arrived.stat().st_size
    if size_bytes != file.size_bytes:
        arrived.unlink()
        raise Transient(
            f"{file.path} came with {size_bytes} bytes; the manifest says {file.size_bytes}.",
            remedy="Run again; if it stays so, something between here and the Hub answers in its place.",
        )
    arrived.chmod(layout.SEALED)
    target = order.model_dir / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    arrived.replace(target)


def _tell(error: FetchError) -> None:
    sys.stdout.write(json.dumps(error.model_dump()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
