"""Numerical sanity of tensors: what no digest tells, because it may have been published so.

An FP8 weight is stored as codes and, beside it as `<name>_scale_inv`, one factor for each block: a weight is its
code times the factor of its block. One factor that is NaN or zero spoils a block of 128 x 128 weights, and the
model goes on answering. Every factor is looked at, and of every kind of tensor in a shard some rows are
dequantised.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np

from slipway.miniature.fp8 import E4M3, FloatArray, decode_bf16, dequantize_blocks
from slipway.units import MIB
from slipway.weights.ranges import Ranges
from slipway.weights.safetensors_header import TensorSpec

SCALE_SUFFIX: Final = "_scale_inv"
BLOCK: Final = (128, 128)
"""Rows and columns that share a scale, in GLM-5.1-FP8 and all that follow DeepSeek-V3."""

LEAST_SCALE: Final = 2.0**-40
MOST_SCALE: Final = 2.0**10
"""A scale is the largest weight of its block / 448: trained models lie within 2^-20 and 1, damage far beyond."""

LARGEST: Final = 2.0**15
"""No weight of a trained model comes near it."""

SAMPLE_BYTES: Final = MIB
"""Of one tensor, at most."""

_NUMBERS = re.compile(r"\d+")


def kind_of(tensor: str) -> str:
    """A tensor's name without the numbers of its layer and expert."""
    return _NUMBERS.sub("*", tensor)


class NumericCheck:
    """Watches the numbers of one shard as it is read.

    Args:
        tensors: The shard's tensors by name.
        payload: Where in the file their bytes begin.
        seed: Decides which rows are looked at.
    """

    def __init__(self, tensors: Mapping[str, TensorSpec], payload: int, *, seed: str) -> None:
        self._tensors = tensors
        self._payload = payload
        self._random = random.Random(seed)  # noqa: S311 - a sample, not a secret
        self._rows: dict[str, tuple[int, bytes]] = {}
        self._scales: dict[str, FloatArray] = {}
        self._oddities: list[str] = []

    def watch(self, ranges: Ranges) -> None:
        """Ask for what will be looked at: all scales, and some rows of each kind of tensor."""
        names = [name for name, spec in self._tensors.items() if spec.size_bytes and spec.dtype in DECODERS]
        scales = {name for name in names if name.endswith(SCALE_SUFFIX)}
        weights = sorted(set(names) - scales)
        self._random.shuffle(weights)
        chosen = set({kind_of(name): name for name in weights}.values())
        for name in scales:
            keep = name.removesuffix(SCALE_SUFFIX) in chosen
            self._want(ranges, name, self._tensors[name].size_bytes, partial(self._see_scales, name, keep))
        for name in chosen:
            spec = self._tensors[name]
            row_bytes = spec.size_bytes // spec.shape[0] if len(spec.shape) == 2 else spec.size_bytes
            first = self._random.randrange(0, spec.size_bytes // row_bytes, BLOCK[0])
            length = min(BLOCK[0], max(SAMPLE_BYTES // row_bytes, 1)) * row_bytes
            self._want(ranges, name, length, partial(self._see_rows, name, first), skip=first * row_bytes)

    def _want(self, ranges: Ranges, name: str, length: int, use: Callable[[bytes], None], *, skip: int = 0) -> None:
        spec = self._tensors[name]
        begin = spec.begin + skip
        ranges.want(self._payload + begin, self._payload + min(begin + length, spec.end), use)

    def _see_scales(self, name: str, keep: bool, data: bytes) -> None:
        spec = self._tensors[name]
        scales = DECODERS[spec.dtype](data)
        if keep and len(spec.shape) == 2:
            self._scales[name.removesuffix(SCALE_SUFFIX)] = scales.reshape(spec.shape)
        self._oddities += [f"{name} {what}" for what in odd_scales(scales)]

    def _see_rows(self, name: str, first: int, data: bytes) -> None:
        self._rows[name] = (first, data)

    def oddities(self) -> list[str]:
        """What is wrong with the numbers, by tensor; to be called when the whole file has passed by."""
        for name, (first, data) in self._rows.items():
            self._oddities += [f"{name} {what}" for what in odd_values(self._values(name, first, data))]
        return self._oddities

    def _values(self, name: str, first: int, data: bytes) -> FloatArray:
        """The rows as numbers; an FP8 weight's times its scales, where they are in this shard and fit."""
        spec, scales = self._tensors[name], self._scales.get(name)
        if spec.dtype == "F8_E4M3" and scales is not None and scales.shape == scale_shape(spec.shape):
            codes = np.frombuffer(data, np.uint8).reshape(-1, spec.shape[1])
            with np.errstate(all="ignore"):
                return dequantize_blocks(codes, scales[first // BLOCK[0] :][:1], BLOCK)
        return DECODERS[spec.dtype](data)


def scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the scales of a weight of that shape."""
    return tuple(-(-length // block) for length, block in zip(shape, BLOCK, strict=False))


def odd_scales(scales: FloatArray) -> Iterator[str]:
    """What is implausible about the scales of one weight."""
    if scales.min(initial=MOST_SCALE) >= LEAST_SCALE and scales.max(initial=LEAST_SCALE) <= MOST_SCALE:
        return  # as nearly always: there are 59,000 weights, and NaN compares as false
    if (broken := np.count_nonzero(~np.isfinite(scales))) > 0:
        yield f"has {broken} of {scales.size} scales that are NaN or infinite"
    elif not scales.any():
        yield "is all zero, and so is every weight it belongs to"
    else:
        present = scales[scales != 0]  # a block of zeros may have been given a scale of zero
        for scale in (float(present.min()), float(present.max())):
            if not LEAST_SCALE <= scale <= MOST_SCALE:
                yield f"has a scale of {scale:g}; plausible are {LEAST_SCALE:.1g} to {MOST_SCALE:g}"


def odd_values(values: FloatArray) -> Iterator[str]:
    """What is implausible about some weights."""
    if (broken := np.count_nonzero(~np.isfinite(values))) > 0:
        yield f"has NaN or infinity in {broken} of {values.size} sampled values"
    elif (largest := float(np.abs(values).max(initial=0))) > LARGEST:
        yield f"has a sampled value of {largest:g}; none above {LARGEST:g} is plausible"


DECODERS: Mapping[str, Callable[[bytes], FloatArray]] = {
    "F8_E4M3": lambda data: E4M3[np.frombuffer(data, np.uint8)],
    "BF16": lambda data: decode_bf16(np.frombuffer(data, "<u2")),
    "F16": lambda data: np.frombuffer(data, "<f2").astype(np.float32),
    "F32": lambda data: np.frombuffer(data, "<f4"),
}
"""Bytes to numbers, by the format's name of the type; what is not here is not looked at."""
