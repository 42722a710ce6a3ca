"""Faults that an engine's log tells of: a wait ends at once, with the cause and the rule that explains it.

A *trigger* is a line after which the engine cannot become ready; it is all that ends a wait. Its *cause* is
looked for in the exception that follows and the lines before. Words like "out of memory" or "Traceback" alone
end nothing: SGLang logs exceptions that it has dealt with.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from slipway.errors import Crashed

_LINES_BEFORE: Final = 40
_SHOWN_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Cause:
    """Why engines die, and what helps.

    Attributes:
        rule: Id of the rule of preflight that explains it, or of the fault itself where none can foresee it.
        pattern: What its lines look like.
        means: The cause in a sentence; `{0}` is the pattern's first group.
        remedy: What to do.
    """

    rule: str
    pattern: re.Pattern[str]
    means: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault found in a log.

    Attributes:
        rule: Id of the rule that explains it.
        cause: Why, in a sentence.
        line: The line that told it.
        remedy: What to do.
    """

    rule: str
    cause: str
    line: str
    remedy: str

    def error(self) -> Crashed:
        """As the error that ends a wait."""
        return Crashed(f"{self.cause} [{self.rule}] Its log says: {self.line}", remedy=self.remedy)


def _cause(rule: str, pattern: str, means: str, remedy: str) -> Cause:
    return Cause(rule, re.compile(pattern), means, remedy)


CAUSES: Final = (
    _cause(
        "flag-refused",
        r"error: (?:unrecognized arguments:|ambiguous option:|argument) ?(.+)",
        "This release of the engine does not take the command line ({0}).",
        "Name the release in engine.version as the image has it, so that its own flags are rendered.",
    ),
    _cause(
        "deep-gemm-illegal-address",
        r"(?:deep_gemm|runtime_utils\.hpp|gemm_nt).*(?:ILLEGAL_ADDRESS|illegal memory access)",
        "A DeepGEMM kernel reads outside its memory, as in SGLang 0.5.12 on Blackwell (#25551).",
        "Use another release than 0.5.12, or `--fp8-gemm-backend cutlass`.",
    ),
    _cause(
        "illegal-address",
        r"CUDA_ERROR_ILLEGAL_ADDRESS|illegal memory access",
        "A kernel reads outside its memory.",
        "Compare release, backends and speculation with the known issues (`slipway explain`); change one of them.",
    ),
    _cause(
        "weights-do-not-fit",
        r"Not enough memory\. Please try to increase --mem-fraction-static",
        "The weights leave no room for the KV pool.",
        "Raise engine.mem_fraction_static, or spread the weights over more GPUs.",
    ),
    _cause(
        "fraction-too-high",
        r"(?:CUDA|HIP) out of memory|OutOfMemoryError|CUDA_ERROR_OUT_OF_MEMORY",
        "The GPU's memory is full.",
        "Lower engine.mem_fraction_static, chunked_prefill_size or max_running_requests; see that nothing else "
        "holds the GPU.",
    ),
    _cause(
        "gpu-architecture",
        r"no kernel image is available|invalid device function|(?:not supported|unsupported) on (?:this )?(?:GPU|SM)",
        "The image or a kernel was built for another GPU architecture.",
        "Use the GPU that the profile names, and an image that has kernels for it.",
    ),
    _cause(
        "gpu-not-usable",
        r"No CUDA GPUs are available|no CUDA-capable device|driver (?:version is insufficient|is too old)"
        r"|device\(s\) is/are busy or unavailable",
        "No usable GPU is there.",
        "Look at the GPUs and their driver (`nvidia-smi`); the image may want a newer driver.",
    ),
    _cause(
        "disk-full",
        r"No space left on device|\[Errno 28\]",
        "A disk is full.",
        "Free room where the kernel caches and temporary files are.",
    ),
    _cause(
        "image-without-compiler",
        r"(?i:nvcc)(?: fatal| compilation failed|: not found)|ninja: build stopped|Ninja build failed"
        r"|(?:CUDA_HOME|nvcc).*(?:not set|not found|could not)",
        "Kernels cannot be compiled here.",
        "Use an image with nvcc (no `-runtime` image).",
    ),
    _cause(
        "rank-lost",
        r"gloo/transport/.*(?:Connection (?:reset|closed) by peer|Broken pipe)|ncclRemoteError",
        "One of the engine's ranks is gone: another has lost its connection to it.",
        "Look for what ended it: an exception further up, the host's out-of-memory killer, a fault of its GPU (Xid).",
    ),
    _cause(
        "collective",
        r"NCCL error|ncclUnhandledCudaError|ncclInternalError|ncclSystemError|DistBackendError",
        "The GPUs cannot talk to one another.",
        "Look at NCCL's lines above; shared memory and NVLink must be there for all GPUs.",
    ),
    _cause(
        "weights-unreadable",
        r"SafetensorError|Error while deserializing header|does not appear to have a file named",
        "The weights cannot be read.",
        "Verify them (`slipway weights verify`), and sync again.",
    ),
    _cause(
        "architecture-unknown",
        r"does not recognize this architecture|[Mm]odel architectures? .* (?:is|are) not supported",
        "This release of the engine does not know the model.",
        "Use a release that supports it.",
    ),
    _cause(
        "port-taken",
        r"\[Errno 98\]|address already in use",
        "The engine's port is taken.",
        "Stop what listens there.",
    ),
    _cause(
        "key-refused",
        r'"GET /v1/models HTTP/1\.1" 401',
        "The compiler is refused by its own server, which wants an API key that it does not send.",
        "Compile without --api-key.",
    ),
    _cause(
        "hang",
        r"\bwatchdog timeout .*soft=False",
        "A forward pass did not end: the engine's own watchdog ended it.",
        "Read the stacks above; see the known hangs (`slipway explain`).",
    ),
    _cause(
        "compile-timeout",
        r"DeepGEMM Kernels compilation timeout",
        "The compiler gave up waiting for its server.",
        "Read the server's lines above.",
    ),
)
"""The first that fits is told: special ones before general ones."""

_UNKNOWN: Final = Cause(
    "unknown", re.compile(""), "The engine died of something that Slipway does not know.", "Read its log."
)

_SAYS_IT: Final = re.compile(
    r"error: (?:unrecognized arguments:|ambiguous option:|argument )"
    r"|Received sigquit from a child|SIGQUIT received\. "
    r"|\bwatchdog timeout .*soft=False|error while attempting to bind on address"
    r"|DeepGEMM Kernels compilation timeout|terminate called after throwing|^Fatal Python error: "
    r"|Aborted \(core dumped\)"
)
_EXCEPTION_FOLLOWS: Final = re.compile(
    r"\b\w+ hit an exception: |\bInitialization failed\. warmup error: |^Process [\w-]+:\s*$"
)
_EXCEPTION: Final = re.compile(r"^(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Timeout|Exit|Expired)\b")
_ARGUMENTS: Final = "server_args="
"""The line with all arguments holds every word."""

_DEALT_WITH: Final = re.compile(r"\[Autotuner\]|Can not initialize ")
"""FlashInfer tries kernels that do not fit, on purpose; SGLang does without parts that are not installed."""

KEY_REFUSED: Final = re.compile(r'"GET /v1/models HTTP/1\.1" 401')
"""For the compiler, which asks its own server; in service, a stranger's request may look like this."""


class FaultWatch:
    """Reads a log line by line, until a fault is found.

    Args:
        triggers: More patterns that end a wait at once.
    """

    def __init__(self, *triggers: re.Pattern[str]) -> None:
        self._triggers = (_SAYS_IT, *triggers)
        self._before: deque[str] = deque(maxlen=_LINES_BEFORE)
        self._in_traceback = False
        self._dealt_with = False

    def read(self, text: str) -> Fault | None:
        """Take in one line; the fault, when it is told for certain."""
        if _ARGUMENTS in text or self._is_dealt_with(text):
            return None
        self._before.append(text)
        if self._in_traceback and _EXCEPTION.match(text):
            self._in_traceback = False
            return explain(text, reversed(self._before))
        if any(trigger.search(text) for trigger in self._triggers):
            return explain(self._exception() or text, reversed(self._before))
        self._in_traceback = self._in_traceback or bool(_EXCEPTION_FOLLOWS.search(text))
        return None

    def ended(self) -> Fault | None:
        """The fault that the last lines tell of, for an engine that has ended without a trigger."""
        said = self._exception()
        return explain(said, reversed(self._before)) if said else None

    def _is_dealt_with(self, text: str) -> bool:
        """Whether the line belongs to an exception that the engine goes on after."""
        if _DEALT_WITH.search(text):
            self._dealt_with = "Traceback" in text
            return True
        if self._dealt_with:
            self._dealt_with = _EXCEPTION.match(text) is None
            return True
        return False

    def _exception(self) -> str | None:
        """The last exception that was printed."""
        return next((line for line in reversed(self._before) if _EXCEPTION.match(line)), None)


def explain(line: str, before: Iterable[str]) -> Fault:
    """The fault that a line tells of, or the lines before it, the latest first."""
    for told in (line, *before):
        for cause in CAUSES:
            if found := cause.pattern.search(told):
                means = cause.means.format(*(group or "" for group in found.groups()))
                return Fault(cause.rule, means, told.strip()[:_SHOWN_CHARACTERS], cause.remedy)
    return Fault(_UNKNOWN.rule, _UNKNOWN.means, line.strip()[:_SHOWN_CHARACTERS], _UNKNOWN.remedy)
