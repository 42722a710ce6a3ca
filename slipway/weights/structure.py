"""A checkpoint as a whole: headers against the index in both directions, and all of it against config.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slipway.errors import Corrupt
from slipway.garbage import uncollected
from slipway.weights.architecture import AnyConfig, BlockQuantization, GlmMoeDsaConfig, optional, required
from slipway.weights.manifest import Manifest
from slipway.weights.numerics import SCALE_SUFFIX
from slipway.weights.safetensors_header import SafetensorsHeader, TensorSpec, parse_header, read_header_text

INDEX_SUFFIX = ".safetensors.index.json"
CONFIG_FILE = "config.json"
MODEL_TYPE = "glm_moe_dsa"
_REMEDY = "The files are as published, so fetching again cannot help: pin another commit, tell the publisher."
_READERS = min(16, 4 * (os.cpu_count() or 1))

Tensors = Mapping[str, TensorSpec]
AnyModel = TypeVar("AnyModel", bound=BaseModel)


class _Index(BaseModel):
    """The part of an index that says where tensors are."""

    model_config = ConfigDict(frozen=True)

    metadata: dict[str, Any] = Field(default_factory=dict)
    weight_map: dict[str, str]


def check_structure(model_dir: Path, manifest: Manifest, header_sha256: Mapping[str, str] | None = None) -> None:
    """Check that the checkpoint can be loaded as it says, given that every file is as published.

    Every `*.safetensors` must have a valid header. Where there is an index, each tensor it names must be in
    the shard it names, each tensor of the shards beside it must be named, and `metadata.total_size`, if
    given, must be the size of all tensors. Where there is a `config.json` beside shards, they must hold the
    model it describes.

    Args:
        model_dir: The model's directory.
        manifest: What is in it.
        header_sha256: Digest by path of the headers that were hashed with their files; none: not compared.

    Raises:
        Corrupt: Naming file and tensor.
    """
    try:
        with uncollected():  # a big model has 120,000 tensors: looking for cycles takes a quarter of the time
            _check_all(model_dir, manifest, header_sha256)
    except Corrupt as error:
        raise Corrupt(error.message, remedy=_REMEDY) from error


def _check_all(model_dir: Path, manifest: Manifest, header_sha256: Mapping[str, str] | None) -> None:
    paths = [PurePosixPath(file.path) for file in manifest.files]
    headers = read_headers(model_dir, [path for path in paths if path.suffix == ".safetensors"], header_sha256)
    for path in paths:
        beside = {shard.name: header for shard, header in headers.items() if shard.parent == path.parent}
        if path.name.endswith(INDEX_SUFFIX):
            check_index((model_dir / path).read_bytes(), beside, str(path))
        elif path.name == CONFIG_FILE and beside:
            tensors = {name: spec for header in beside.values() for name, spec in header.tensors.items()}
            check_config((model_dir / path).read_bytes(), tensors, str(path))


def read_headers(
    model_dir: Path, paths: list[PurePosixPath], header_sha256: Mapping[str, str] | None = None
) -> dict[PurePosixPath, SafetensorsHeader]:
    """The headers of many shards, several being waited for at a time.

    Raises:
        Corrupt: At the first that is broken, or not the one that was hashed.
    """
    headers = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="header") as pool:
        for path, (text, payload_bytes) in zip(
            paths, pool.map(lambda path: read_header_text(model_dir / path), paths), strict=True
        ):
            if header_sha256 is not None and header_sha256.get(str(path)) != hashlib.sha256(text).hexdigest():
                raise _corrupt(f"{path} was changed while it was verified")
            headers[path] = parse_header(text, payload_bytes, path.name)
    return headers


def check_index(text: bytes, headers: Mapping[str, SafetensorsHeader], file: str) -> None:
    """Compare an index with the headers of the shards beside it.

    Args:
        text: The index, as JSON.
        headers: Header by shard name.
        file: The index's name, for errors.

    Raises:
        Corrupt: At the first difference.
    """
    index = _load(_Index, text, f"{file} is no index of tensors")
    actual = {(tensor, shard) for shard, header in headers.items() for tensor in header.tensors}
    claimed = set(index.weight_map.items())
    if absent := claimed - actual:
        tensor, shard = min(absent)
        raise _corrupt(f"{file} says that {tensor} is in {shard}, and it is not ({len(absent)} such)")
    if unnamed := actual - claimed:
        tensor, shard = min(unnamed)
        raise _corrupt(f"{shard} holds {tensor}, which {file} does not name there ({len(unnamed)} such)")
    total = sum(spec.size_bytes for header in headers.values() for spec in header.tensors.values())
    stated = index.metadata.get("total_size", total)
    if stated != total:
        raise _corrupt(f"{file} gives a total_size of {stated}; the tensors have {total} bytes")


def check_config(text: bytes, tensors: Tensors, file: str) -> None:
    """Compare a config.json with the tensors of a checkpoint.

    Every FP8 weight must have scales of the right shape, and scales a weight. For a `glm_moe_dsa` model each
    tensor of each layer must be there in its shape, the draft layer's too, and none beyond them.

    Raises:
        Corrupt: At the first difference.
    """
    config = _load(AnyConfig, text, f"{file} is no model's configuration")
    weights = {name: spec for name, spec in tensors.items() if not name.endswith(SCALE_SUFFIX)}
    if config.model_type == MODEL_TYPE:
        sizes = _load(GlmMoeDsaConfig, text, f"{file} does not describe a {MODEL_TYPE} model")
        _check_tensors(sizes, weights, file)
    if config.quantization_config is not None and config.quantization_config.weight_block_size is not None:
        _check_scales(config.quantization_config, config.quantization_config.weight_block_size, tensors, file)


def _check_tensors(config: GlmMoeDsaConfig, weights: Tensors, file: str) -> None:
    wanted = dict(required(config))
    if absent := wanted.keys() - weights.keys():
        layers = f"{config.num_hidden_layers} layers and {config.num_nextn_predict_layers} draft layers"
        raise _corrupt(f"{file} describes {layers}, and {min(absent)} is in no shard ({len(absent)} such)")
    allowed = wanted | dict(optional(config))
    if surplus := weights.keys() - allowed.keys():
        raise _corrupt(f"{min(surplus)} belongs to no layer that {file} describes ({len(surplus)} such)")
    for name, spec in weights.items():
        if spec.shape != allowed[name]:
            raise _corrupt(f"{name} has the shape {list(spec.shape)}; by {file} it is {list(allowed[name])}")


def _check_scales(config: BlockQuantization, block: tuple[int, int], tensors: Tensors, file: str) -> None:
    for name, spec in tensors.items():
        if name.endswith(SCALE_SUFFIX):
            weight = tensors.get(name.removesuffix(SCALE_SUFFIX))
            if weight is None or not weight.dtype.startswith("F8_"):
                raise _corrupt(f"{name} is there, and no FP8 weight {name.removesuffix(SCALE_SUFFIX)}")
        elif spec.dtype.startswith("F8_"):
            _check_fp8(name, spec, tensors.get(name + SCALE_SUFFIX), block)
            if name.removesuffix(".weight") in (config.modules_to_not_convert or ()):
                raise _corrupt(f"{name} is FP8, and {file} says that it was not quantised")


def _check_fp8(name: str, spec: TensorSpec, scales: TensorSpec | None, block: tuple[int, int]) -> None:
    """An FP8 weight and its scales."""
    if scales is None:
        raise _corrupt(f"{name} is FP8, and {name}{SCALE_SUFFIX} is in no shard")
    if len(spec.shape) != len(block):
        raise _corrupt(f"{name} is FP8 and has the shape {list(spec.shape)}; only matrices are quantised in blocks")
    blocks = (-(-spec.shape[0] // block[0]), -(-spec.shape[1] // block[1]))
    if scales.shape != blocks:
        raise _corrupt(
            f"{name}{SCALE_SUFFIX} has the shape {list(scales.shape)}; a weight of {list(spec.shape)} in blocks of "
            f"{list(block)} has {list(blocks)} scales"
        )


def _load(model: type[AnyModel], text: bytes, complaint: str) -> AnyModel:
    try:
        return model.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        raise _corrupt(f"{complaint}: {' '.join(str(error).split())[:200]}") from error


def _corrupt(message: str) -> Corrupt:
    return Corrupt(f"{message}.", remedy=_REMEDY)
