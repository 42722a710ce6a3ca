"""The rules: one known fault each. A new one is a function with `@rule` in the module of its subject."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from slipway.preflight.rule import Rule
from slipway.preflight.rules import (
    budget,
    flags,
    hardware,
    image,
    judging,
    memory,
    scaling,
    speculation,
    starting,
    weights,
)

MODULES: Final = (image, flags, memory, hardware, scaling, speculation, starting, judging, budget, weights)

RULES: Final = MappingProxyType(
    {each.id: each for module in MODULES for each in vars(module).values() if isinstance(each, Rule)}
)
"""Every rule by its id, in the order they stand in the modules."""
