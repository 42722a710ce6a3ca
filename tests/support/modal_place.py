"""The platform at Modal as the contract suite opens it, also from other processes."""

from __future__ import annotations

from pathlib import Path

from slipway.platforms.modal.platform import ModalPlatform


class ContractModal(ModalPlatform):
    """With the modules that the suite's jobs are in."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, jobs="contract-jobs", sources=("slipway", "tests.support"))
