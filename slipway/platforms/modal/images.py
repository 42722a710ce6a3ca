"""What containers are made of: an image, and Slipway's own modules beside it.

Serving images are taken as they are, by digest, and nothing is installed into them: whatever changes there changes
the key of the compiled kernels. Slipway's modules are added when a container starts.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import modal

from slipway.platforms.resources import Resources

JOB_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Jobs run on the Python that releases: what was tested there runs here."""

JOB_PACKAGES: Final = (
    *("huggingface-hub", "hf-xet", "httpx", "httpx2", "pydantic", "pyyaml", "psutil"),
    *("numpy", "scipy", "pandas", "pyarrow", "orjson", "msgspec", "safetensors", "tokenizers", "jinja2"),
    *("openai", "inspect-ai", "jsonschema", "prometheus-client", "starlette", "uvicorn", "aiohttp", "grpclib"),
)
"""What jobs, and the miniature where it serves, import; each in the version that is installed here."""

LEFT_OUT: Final = ("**/__pycache__/**", "**/*.pyc", "miniature/checkpoint/**", "miniature/training/**", "cli/**")


def image_for(resources: Resources, sources: Iterable[str]) -> modal.Image:
    """The image of a function.

    Args:
        resources: Names the image, or leaves it open.
        sources: Names of the top-level packages that containers import.
    """
    base = _job_image() if resources.image is None else modal.Image.from_registry(resources.image).entrypoint([])
    return base.add_local_python_source(*sources, ignore=list(LEFT_OUT))


def _job_image() -> modal.Image:
    versions = [f"{name}=={metadata.version(name)}" for name in JOB_PACKAGES]
    return modal.Image.debian_slim(python_version=JOB_PYTHON).pip_install(*versions)


@cache
def source_digest(sources: tuple[str, ...]) -> str:
    """Digest of the modules that containers are given: other modules make other functions."""
    digest = hashlib.sha256()
    for root in (_directory(name) for name in sources):
        for file in sorted([*root.rglob("*.py"), *root.rglob("*.c")]):
            digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _directory(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    return Path(spec.origin).parent
