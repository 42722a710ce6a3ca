"""The supervisor's command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway.kernels.directories import ROOTS


@dataclass(frozen=True, slots=True)
class Options:
    """The command line.

    Attributes:
        release_id: The release that is served.
        model_dir: Its weights.
        manifest_digest: What they must have been verified against.
        port: Where the engine listens.
        status_file: Where the phase is told.
        health_timeout_s: How long the engine may take for its first inference.
        prompt_tokens: Length of a prompt that it must have answered as well, 0 for none.
        stop_grace_s: How long it may take to finish what it has begun.
        hang_after_s: How long it may have requests and make no token of them before it is taken for hung.
        kernels: The mounted kernel volume; None for an engine that keeps no kernels of SGLang's kind.
        kernel_key: Key of the cache in it that the engine is to use.
        kernel_roots: Local directory below which it is unpacked.
        api_key_env: Environment variable with the engine's API key, None for none.
        argv: The engine's command.
    """

    release_id: str
    model_dir: Path
    manifest_digest: str
    port: int
    status_file: Path
    health_timeout_s: float
    prompt_tokens: int
    stop_grace_s: float
    hang_after_s: float
    kernels: Path | None
    kernel_key: str
    kernel_roots: Path
    api_key_env: str | None
    argv: tuple[str, ...]


def parse(argv: Sequence[str]) -> Options:
    """The command line as options."""
    parser = argparse.ArgumentParser(prog="slipway.engine.supervisor")
    parser.add_argument("--release-id", required=True)
    parser.add_argument("--model-dir", required=True, type=Path)
    parser.add_argument("--manifest-digest", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--status-file", required=True, type=Path)
    parser.add_argument("--health-timeout-s", required=True, type=float)
    parser.add_argument("--prompt-tokens", default=0, type=int)
    parser.add_argument("--stop-grace-s", required=True, type=float)
    parser.add_argument("--hang-after-s", default=600.0, type=float)
    parser.add_argument("--kernels", type=Path)
    parser.add_argument("--kernel-key", default="")
    parser.add_argument("--kernel-roots", default=ROOTS, type=Path)
    parser.add_argument("--api-key-env")
    parser.add_argument("argv", nargs="+", metavar="-- ENGINE ARGV")
    parsed = vars(parser.parse_args(argv))
    return Options(**parsed | {"argv": tuple(parsed["argv"])})
