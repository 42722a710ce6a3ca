"""The page of a release from what the ledger has of it, and its place there."""

from __future__ import annotations

from slipway.errors import Misconfigured
from slipway.gates.evidence import Evidence
from slipway.records.history import release_before
from slipway.records.html.page import render
from slipway.records.ledger import Ledger
from slipway.records.record import ReleaseRecord


def page_of(ledger: Ledger, record: ReleaseRecord) -> str:
    """The report of a release, with its evidence and the release before it, as far as there are any.

    Raises:
        Corrupt: If evidence or an earlier record cannot be read.
    """
    return render(record, _evidence(ledger, record), release_before(ledger, record))


def store(ledger: Ledger, record: ReleaseRecord) -> str:
    """Keep the page beside the record; its path in the ledger."""
    path = f"reports/{record.release_id}.html"
    ledger.write(path, page_of(ledger, record).encode())
    return path


def _evidence(ledger: Ledger, record: ReleaseRecord) -> Evidence | None:
    try:
        return ledger.evidence(record)
    except Misconfigured:  # it ended before its gates
        return None
