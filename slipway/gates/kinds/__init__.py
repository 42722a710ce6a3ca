"""The gates, one module each: how a metric's figure is made from the evidence, and what fault it is meant to catch.

A module has `estimate(case)`, which gives an estimator (`slipway.gates.case.Estimator`) or raises `NoFigure`;
or `findings(case)`, the list of faults, where nothing is estimated. Adding one is: the metric in
`slipway.profile.metrics`, the module here, its line below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from slipway.gates.case import Case, Estimator
from slipway.gates.kinds import (
    accept_length,
    accuracy,
    answer_time,
    cold_start,
    config_drift,
    conformance,
    degenerate,
    e2e,
    error_rate,
    event_gap,
    kernels,
    prefix_reuse,
    throughput,
    tool_calls,
    tpot,
    ttft,
)

ESTIMATES: Final[Mapping[str, Callable[[Case], Estimator]]] = MappingProxyType(
    {
        "accept_length": accept_length.estimate,
        "accuracy": accuracy.estimate,
        "answer_s": answer_time.estimate,
        "cold_start_s": cold_start.estimate,
        "degenerate": degenerate.estimate,
        "e2e_s": e2e.estimate,
        "error_rate": error_rate.estimate,
        "event_gap_s": event_gap.estimate,
        "output_tokens_per_s": throughput.estimate,
        "prefix_reuse": prefix_reuse.estimate,
        "tool_calls": tool_calls.estimate,
        "tpot_s": tpot.estimate,
        "ttft_s": ttft.estimate,
    }
)

NOTES: Final[Mapping[str, Callable[[Case], str]]] = MappingProxyType(
    {"accuracy": accuracy.note, "degenerate": degenerate.note}
)
"""What a verdict's reason adds to the figure; empty where there is nothing to add."""

FINDINGS: Final[Mapping[str, Callable[[Case], tuple[str, ...]]]] = MappingProxyType(
    {"config_drift": config_drift.findings, "conformance": conformance.findings, "kernels": kernels.findings}
)
