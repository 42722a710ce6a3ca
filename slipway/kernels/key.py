"""The kernel cache's key: a digest over everything that decides whether a cache can be reused.

Engines that find nothing under their own inner key compile again without a word, so the key here must hold
at least what theirs does. Every part has a name, so that a difference can be told.
"""

from __future__ import annotations

import hashlib
import json
import platform as host
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from slipway.miniature import packed
from slipway.profile import Profile
from slipway.registry.reference import digest_in

SHAPING: Final = (
    *("tp_size", "ep_size", "kv_cache_dtype", "max_running_requests", "chunked_prefill_size", "max_prefill_tokens"),
    *("sparse_prefill_backend", "sparse_decode_backend", "moe_runner_backend", "fp8_gemm_backend"),
    *("allreduce_fusion", "speculation"),
)
"""What a profile asks of SGLang that chooses kernels or their shapes."""


@dataclass(frozen=True, slots=True)
class KernelKey:
    """What a kernel cache was made for.

    Attributes:
        parts: Name and value of each thing that decides reuse.
    """

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Name of the cache's directory: 32 hexadecimal digits."""
        return hashlib.sha256(json.dumps(dict(self.parts), sort_keys=True).encode()).hexdigest()[:32]


def kernel_key(profile: Profile, manifest_digest: str) -> KernelKey:
    """The key of the cache that a profile's engine needs.

    The miniature's cache is made of its weights, so their name is part of it. SGLang's depends on the
    image (which fixes sglang, deep_gemm, nvcc and the install path), the GPU, and what chooses kernels and
    their shapes.
    """
    engine = profile.engine
    parts = {"engine": engine.kind, "version": engine.version}
    if engine.kind == "miniature":
        parts |= {"weights": manifest_digest, "packing": packed.FORMAT, "machine": host.machine()}
    else:
        parts |= {
            "image": digest_in(engine.image) or engine.image or "",  # the same bytes under another tag are the same
            "gpu": f"{profile.hardware.gpu}:{profile.hardware.gpu_count}",
            **{name: str(getattr(engine, name)) for name in SHAPING},
            "env": json.dumps(engine.env, sort_keys=True),  # a variable may choose kernels as an option does
        }
    return KernelKey(parts)
