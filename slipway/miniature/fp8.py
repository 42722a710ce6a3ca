"""FP8 E4M3 and BF16 in NumPy, which knows neither: bits to float32, and float32 rounded to BF16."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]


def _e4m3_values() -> FloatArray:
    """The 256 values of E4M3FN (arXiv 2209.05433, table 1): bias 7, no infinities, NaN at S.1111.111."""
    bits = np.arange(256, dtype=np.uint32)
    sign = np.where(bits & 0x80, np.float32(-1), np.float32(1))
    exponent, mantissa = (bits >> 3 & 0x0F).astype(np.int32), (bits & 0x07).astype(np.float32)
    magnitude = np.where(exponent > 0, np.ldexp(1 + mantissa / 8, exponent - 7), np.ldexp(mantissa / 8, np.int32(-6)))
    return np.where(bits & 0x7F == 0x7F, np.float32(np.nan), sign * magnitude).astype(np.float32)


E4M3: Final[FloatArray] = _e4m3_values()
"""The value of each E4M3 byte."""


def decode_bf16(bits: npt.NDArray[np.uint16]) -> FloatArray:
    """BF16 bits as float32 (exact: BF16 is the upper half of a float32)."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_to_bf16_(values: FloatArray) -> None:
    """Round contiguous float32 values to the nearest BF16, ties to even, in place.

    The values must be finite: a NaN's payload could be carried into infinity.
    """
    bits = values.view(np.uint32)
    bits += ((bits >> 16) & 1) + np.uint32(0x7FFF)
    bits &= np.uint32(0xFFFF0000)


def dequantize_blocks(bits: npt.NDArray[np.uint8], scale_inv: FloatArray, block_size: tuple[int, int]) -> FloatArray:
    """Decode an FP8 matrix whose blocks have a scale each.

    Args:
        bits: E4M3 bytes, shape (n, k).
        scale_inv: The factor of each block, shape (ceil(n / rows), ceil(k / columns)). The checkpoint calls
            it the inverse because quantisation divided by it; decoding multiplies.
        block_size: Rows and columns of a block; the last ones may be cut off by the matrix's edge.

    Returns:
        The weights in float32, shape (n, k).
    """
    rows, columns = block_size
    values = E4M3.take(bits)
    for number, scales in enumerate(scale_inv.repeat(columns, axis=1)[:, : bits.shape[1]]):
        values[number * rows : (number + 1) * rows] *= scales
    return values
