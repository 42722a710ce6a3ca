"""Secret values: from the environment, or made here once; containers have them from Modal's secrets.

Modal does not give values back. A secret of Modal has the name of the variable in it and is made when it is not
there; one that is there is left alone, so that no release changes the key of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import modal

from slipway.platforms.local.credentials import secret_value
from slipway.platforms.modal.errors import translated


class Secrets:
    """The secrets of one environment of Modal.

    Args:
        directory: Where values that were made here are kept, for their owner only.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._there: set[str] = set()

    def value(self, name: str) -> str:
        """The value of a secret.

        Raises:
            Misconfigured: When the environment does not have it and no value can be made up for it.
        """
        return secret_value(self._directory, name)

    def ensure(self, names: Iterable[str]) -> None:
        """Have Modal know these secrets before a container needs them.

        Raises:
            Misconfigured: When one is not at Modal, and its value is not here.
        """
        for name in set(names) - self._there:
            with translated(f"looking up secret {name}"):
                if not _exists(name):
                    modal.Secret.objects.create(name, {name: self.value(name)}, allow_existing=True)
            self._there.add(name)


def _exists(name: str) -> bool:
    try:
        modal.Secret.from_name(name, required_keys=[name]).hydrate()
    except modal.exception.NotFoundError:
        return False
    return True
