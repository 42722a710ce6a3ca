"""Rules on what is run: image, release, weights."""

from __future__ import annotations

import re

from slipway.preflight.plan import Severity
from slipway.preflight.rule import rule
from slipway.preflight.subject import Subject
from slipway.profile.lock import floating_revision
from slipway.registry.reference import digest_in

_RELEASE = re.compile(r"(?<![0-9.])v?([0-9]+\.[0-9]+\.[0-9]+(?:\.post[0-9]+)?)")
_FLOATING = re.compile(r"(latest|nightly|dev|main)\b")


def _tag(image: str) -> str:
    """What follows the last colon of an image's name; a port of a registry is none."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    return tag if name and "/" not in tag else ""


@rule(
    Severity.ERROR,
    happens="tomorrow it is another SGLang, whose options died or changed: from 0.5.20 on `--nsa-*` ends the server at "
    "its command line, and each restart on Modal pays eight GPUs again.",
    remedy="Name a release and its digest: name:v0.5.10@sha256:….",
    source="option tables of sglang 0.5.10 to 0.5.23",
)
def image_floating(s: Subject) -> str | None:
    """`engine.image` has no digest and a tag that moves (`latest`, `dev`, `nightly`), or no tag."""
    image = s.engine.image
    if image is None or digest_in(image) or (_tag(image) and not _FLOATING.match(_tag(image))):
        return None
    return f"engine.image is {image!r}"


@rule(
    Severity.ERROR,
    happens="a tag can be moved to other bytes: candidate and live release would differ, each container may start with "
    "others, and kernels compiled for the old ones are useless.",
    remedy="Run `slipway resolve` on the profile and commit its lock, or write name:tag@sha256:….",
    source="docs/resolving.md; DeepGEMM's cache key holds the compiler and the install path",
)
def image_not_pinned(s: Subject) -> str | None:
    """`platform: modal`, and neither `engine.image` nor the profile's lock has the image's digest."""
    if s.profile.platform == "local" or image_floating.check(s):
        return None
    if s.engine.image is None:
        return "engine.image is not given"
    return None if digest_in(s.engine.image) else f"engine.image {s.engine.image!r} names no digest"


@rule(
    Severity.ERROR,
    happens="flags are rendered for one release and read by another.",
    remedy="Make engine.version and the image's tag the same release.",
    source="option tables of sglang 0.5.10 to 0.5.23",
)
def image_of_another_release(s: Subject) -> str | None:
    """The tag of `engine.image` names another release than `engine.version`."""
    found = _RELEASE.search(_tag(s.engine.image or ""))
    if found is None or found[1] == s.engine.version:
        return None
    return f"engine.image is of {found[1]}, engine.version is {s.engine.version}"


@rule(
    Severity.WARNING,
    happens="DeepGEMM asks nvcc for its version at every start and compiles what it lacks; such an image has no nvcc.",
    remedy="Take the full image.",
    source="DeepGEMM, csrc/jit",
)
def image_without_compiler(s: Subject) -> str | None:
    """The tag of `engine.image` ends in `-runtime`."""
    tag = _tag(s.engine.image or "")
    return f"engine.image has the tag {tag!r}" if tag.endswith("-runtime") else None


@rule(
    Severity.ERROR,
    happens="DeepGEMM ends with CUDA_ERROR_ILLEGAL_ADDRESS while graphs are captured, after all weights were loaded.",
    remedy="Take 0.5.10, 0.5.11 or 0.5.13, or set engine.fp8_gemm_backend: cutlass.",
    source="sgl-project/sglang#25551, #26541",
)
def deep_gemm_illegal_address(s: Subject) -> str | None:
    """SGLang 0.5.12 on a Blackwell GPU, with `engine.fp8_gemm_backend` left out or DeepGEMM."""
    elsewhere = s.engine.fp8_gemm_backend not in {None, "auto", "deep_gemm"}
    broken = s.on_blackwell and s.engine.version == "0.5.12" and not elsewhere
    return f"engine.version is {s.engine.version} on {s.profile.hardware.gpu}" if broken else None


@rule(
    Severity.WARNING,
    happens="0.5.12 crashes there while capturing graphs, and nobody has told whether its post-release does.",
    remedy="Take 0.5.10, 0.5.11 or 0.5.13.",
    source="sgl-project/sglang#25551",
)
def post_release_untested(s: Subject) -> str | None:
    """A post-release of SGLang 0.5.12 on a Blackwell GPU."""
    unsure = s.on_blackwell and s.engine.version.startswith("0.5.12.post")
    return f"engine.version is {s.engine.version} on {s.profile.hardware.gpu}" if unsure else None


@rule(
    Severity.WARNING,
    happens="the draft layer's BF16 experts have ended in illegal memory accesses under load.",
    remedy="Stay at 0.5.14 or before, or set engine.speculation.moe_runner_backend: triton.",
    source="sgl-project/sglang#30209, #31093, #32377",
)
def draft_experts_illegal_access(s: Subject) -> str | None:
    """Speculation with SGLang 0.5.15 or later on a Blackwell GPU, the draft's experts not run by Triton."""
    drafts = s.engine.speculation
    found = s.on_blackwell and drafts and drafts.moe_runner_backend != "triton" and s.version >= (0, 5, 15)
    return f"engine.version is {s.engine.version} with speculation" if found else None


@rule(
    Severity.ERROR,
    happens="two releases of this profile may serve different weights, and nobody has decided which.",
    remedy="Run `slipway resolve` on the profile and commit its lock, or write the commit.",
    source="docs/resolving.md",
    where="modal",
)
def revision_not_pinned(s: Subject) -> str | None:
    """`platform: modal`, and neither `model.revision` nor the profile's lock has the commit."""
    revision = floating_revision(s.profile)
    return f"model.revision {revision!r} may be another commit tomorrow" if revision else None


@rule(
    Severity.WARNING,
    happens="two releases of this profile may serve different weights.",
    remedy="Run `slipway resolve` on the profile, or pin model.revision to a commit and remove allow_floating.",
    source="Hub revisions",
    where="any",
)
def revision_floating(s: Subject) -> str | None:
    """`model.allow_floating` is set, and `platform` is not `modal`."""
    model = s.profile.model
    if s.profile.platform == "modal" or not model.allow_floating:
        return None  # revision-not-pinned says more
    return f"model.revision {model.revision!r} may be another commit tomorrow"


@rule(
    Severity.WARNING,
    happens="whoever can change the repository runs code on the serving machine; SGLang and transformers 5.2 know "
    "this architecture and need none.",
    remedy="Remove trust_remote_code.",
    source="transformers, models/glm_moe_dsa",
)
def remote_code_trusted(s: Subject) -> str | None:
    """`engine.trust_remote_code` is set."""
    return "engine.trust_remote_code is set" if s.engine.trust_remote_code else None
