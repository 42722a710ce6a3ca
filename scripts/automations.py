"""Create the automations of `deployments/automations/` on the Prefect server in use, for one notification block.

    prefect block register -m prefect.blocks.notifications
    prefect block create slack-webhook              opens its form; any other notification block will do
    python -m scripts.automations slack-webhook/releases

One of the same name is replaced, so that it can be run again after a change.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from slipway.errors import Misconfigured, SlipwayError

DIRECTORY: Final = Path(__file__).parents[1] / "deployments" / "automations"
PLACEHOLDER: Final = "BLOCK"


def automations(block: UUID) -> list[dict[str, Any]]:
    """Every automation as a document, to be sent by a block."""
    empty, filled = (f"block_document_id: {value}" for value in (PLACEHOLDER, block))
    texts = [path.read_text(encoding="utf-8") for path in sorted(DIRECTORY.glob("*.yaml"))]
    return [yaml.safe_load(text.replace(empty, filled)) for text in texts]


def block_id(name: str) -> UUID:
    """Id of a block by `type/name`.

    Raises:
        Misconfigured: If there is none.
    """
    kind, _, document = name.partition("/")
    with get_client(sync_client=True) as client:
        try:
            return client.read_block_document_by_name(document, block_type_slug=kind).id
        except ObjectNotFound:
            raise Misconfigured(
                f"There is no block {name!r}.", remedy="`prefect block ls` lists them; write it as type/name."
            ) from None


def create(block: UUID) -> list[str]:
    """Create them all; their names."""
    names = []
    for document in automations(block):
        made = AutomationCore.model_validate(document)
        with get_client(sync_client=True) as client:
            for known in client.read_automations_by_name(made.name):
                client.delete_automation(known.id)
            client.create_automation(made)
        names.append(made.name)
    return names


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("block", help="notification block, as type/name")
    try:
        names = create(block_id(parser.parse_args().block))
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("\n".join(names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
