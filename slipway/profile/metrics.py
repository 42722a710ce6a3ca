"""What gates can be about: each metric's unit, statistics, direction, and default limits with their source.

`slipway.gates.kinds` has one module for each metric, which says how the figure is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal


class Level(StrEnum):
    """What a verdict that is not PASS means."""

    CRITICAL = "critical"  # not waivable
    REQUIRED = "required"
    ADVISORY = "advisory"  # reported only


class Statistic(StrEnum):
    """What is estimated from the samples of one gate."""

    SHARE = "share"
    MEAN = "mean"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    RATIO = "ratio"
    DROP = "drop"
    TOTAL = "total"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True)
class Limits:
    """A default limit; at most one side of it for each statistic, but for what can be too good to be true."""

    at_most: float | None = None
    at_least: float | None = None
    worse_by: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that gates can limit.

    Attributes:
        unit: Unit of figure and limit.
        about: What it is, in one sentence.
        statistics: What can be estimated of it.
        worse: Which direction is worse.
        applies_to: Whether its figure is of one workload, or of the release as a whole.
        level: What a verdict other than PASS means unless the gate says otherwise.
        limits: Default limits by statistic; where there is none, the gate must give one.
        source: Where level and limits come from.
    """

    unit: Literal["s", "share", "tokens", "tokens/s", "ratio", "findings"]
    about: str
    statistics: frozenset[Statistic]
    worse: Literal["higher", "lower"] = "higher"
    applies_to: Literal["workload", "release"] = "workload"
    level: Level = Level.REQUIRED
    limits: Mapping[Statistic, Limits] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""


_TIMES: Final = frozenset({Statistic.MEAN, Statistic.P50, Statistic.P95, Statistic.P99})
_SHARE: Final = frozenset({Statistic.SHARE})
_EQUAL: Final = frozenset({Statistic.EQUAL})

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        "config_drift": Metric(
            unit="findings",
            about="Differences between what the profile asks for and what the server says is in force.",
            statistics=_EQUAL,
            applies_to="release",
            level=Level.CRITICAL,
            source="A deployed flag need not be in force: a KV cache that was FP8 by default cost 18 points of AIME.",
        ),
        "conformance": Metric(
            unit="findings",
            about="Broken promises of the API: usage, finish reasons, reasoning, tool calls, errors.",
            statistics=_EQUAL,
            applies_to="release",
            level=Level.CRITICAL,
            source="Parsers for this model have mistyped arguments when streaming (SGLang issue 35564).",
        ),
        "kernels": Metric(
            unit="findings",
            about="Kernels that the engine compiled although they were made beforehand, or why it was given none.",
            statistics=_EQUAL,
            applies_to="release",
            source="A start took 422 s without them and 74 s with all, the first sampled request 119 s and 0.2 s.",
        ),
        "cold_start_s": Metric(
            unit="s",
            about="From the start of the candidate's process through the first request of each length of the warm-up.",
            statistics=frozenset({Statistic.TOTAL}),
            applies_to="release",
            level=Level.ADVISORY,
            source="Set from the platform's own starts; a scale-up pays it for every new replica.",
        ),
        "error_rate": Metric(
            unit="share",
            about="Share of requests that were not served whole: refused, cut, stalled, malformed or empty.",
            statistics=_SHARE,
            level=Level.CRITICAL,
            limits={Statistic.SHARE: Limits(at_most=0.01)},
            source="1 % can be shown by 299 requests without a failure at 95 % confidence.",
        ),
        "degenerate": Metric(
            unit="share",
            about="Share of answers that are loops, never stop, or are made of characters no text has.",
            statistics=_SHARE,
            level=Level.CRITICAL,
            limits={Statistic.SHARE: Limits(at_most=0.02)},
            source="The vendor saw 0.1 % under load before its fixes; 2 % can be shown by 150 answers.",
        ),
        "ttft_s": Metric(
            unit="s",
            about="Time to first token, of reasoning or answer.",
            statistics=_TIMES,
            limits={
                Statistic.P50: Limits(worse_by=0.15),
                Statistic.P95: Limits(worse_by=0.25),
                Statistic.MEAN: Limits(worse_by=0.15),
            },
            source="Margins at which a difference between deployments (3 % by itself) is seen 8 times in 10.",
        ),
        "answer_s": Metric(
            unit="s",
            about="Time to the first token of the answer proper, after any reasoning.",
            statistics=_TIMES,
            level=Level.ADVISORY,
            source="As long as the model thinks: a property of the prompts first.",
        ),
        "tpot_s": Metric(
            unit="s",
            about="Time per output token after the first event.",
            statistics=_TIMES,
            limits={statistic: Limits(worse_by=0.10) for statistic in (Statistic.P50, Statistic.P95, Statistic.MEAN)},
            source="Margin at which a difference between deployments (3 % by itself) is seen 8 times in 10.",
        ),
        "event_gap_s": Metric(
            unit="s",
            about="Gap between two events of a stream: the longest one of each request.",
            statistics=_TIMES,
            level=Level.ADVISORY,
            source="What a reader sees as a stall.",
        ),
        "e2e_s": Metric(
            unit="s",
            about="From the send to the last event of a request.",
            statistics=_TIMES,
            level=Level.ADVISORY,
            source="Depends on the length of the answer as much as on the server.",
        ),
        "output_tokens_per_s": Metric(
            unit="tokens/s",
            about="Output tokens of all streams per second at full concurrency, block by block.",
            statistics=frozenset({Statistic.MEAN}),
            worse="lower",
            limits={Statistic.MEAN: Limits(worse_by=0.10)},
            source="Practical margin; ramps are cut off.",
        ),
        "accept_length": Metric(
            unit="tokens",
            about="Tokens that one verify step of speculative decoding yields; depends on the workload.",
            statistics=frozenset({Statistic.MEAN}),
            worse="lower",
            limits={Statistic.MEAN: Limits(worse_by=0.05)},
            source="3.0 on code with 3 drafts; near 4 means repetition, below 1.5 that speculation is off.",
        ),
        "prefix_reuse": Metric(
            unit="ratio",
            about="Median TTFT of requests whose prefix was cached, over that of those whose was not.",
            statistics=frozenset({Statistic.RATIO}),
            level=Level.ADVISORY,
            limits={Statistic.RATIO: Limits(at_most=0.6)},
            source="RadixAttention's claim of a TTFT lower by 40 to 60 %.",
        ),
        "accuracy": Metric(
            unit="share",
            about="Share of right answers; with `drop`, how much lower than the baseline's on the same questions.",
            statistics=frozenset({Statistic.SHARE, Statistic.DROP}),
            worse="lower",
            level=Level.CRITICAL,
            limits={Statistic.DROP: Limits(at_most=0.02)},
            source="2 points on 1,319 paired questions are seen 94 times in 100; on 200, 23 times.",
        ),
        "tool_calls": Metric(
            unit="share",
            about="Share of requests answered by exactly the right tool call, valid by its schema.",
            statistics=_SHARE,
            worse="lower",
            limits={Statistic.SHARE: Limits(at_least=0.95)},
            source="SGLang's published rate of valid calls is 95.5 %, the vendor's 100 %.",
        ),
    }
)
