"""Gate `kernels`: compiled again although they were made beforehand: every scale-up and its first users would wait."""

from __future__ import annotations

from slipway.gates.case import Case, NoFigure


def findings(case: Case) -> tuple[str, ...]:
    """Kernels that the engine compiled until its gates had been measured, or why it was given none.

    Raises:
        NoFigure: If nobody counted.
    """
    if case.evidence.facts.kernels is None:
        raise NoFigure("nobody counted the kernels that this server compiled", server=False)
    return case.evidence.facts.kernels
