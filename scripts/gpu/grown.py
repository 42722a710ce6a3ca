"""The miniature in the shapes that one of eight GPUs has of GLM-5.1: a checkpoint that SGLang's GPU kernels take.

    python -m scripts.gpu.grown DIRECTORY       1.3 GB; needs neither GPU nor torch

Attention, MoE and FP8 kernels exist for certain sizes only (heads of 192 + 64, latents of 512, 256 experts). Rows and
columns of zeros bring the miniature's tensors to them. What is computed stays the same, so the answers are the
miniature's: every FP8 code and BF16 weight is copied, and what a norm over more dimensions or the softmax of longer
heads would change is made good by the factors of blocks, or by powers of two.

- A norm over D instead of d dimensions, of which D - d are zero, makes the others sqrt(D / d) larger.
- Rotary pair j turns by theta^(-2j / rope). With twice the dimensions that is pair 2j.
- The indexer's key is normalised with its mean taken off; a second copy of it, which no query looks at, keeps mean
  and variance.
- The experts beyond the miniature's are copies of them that the router's bias never lets be chosen.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from slipway.errors import Misconfigured
from slipway.files import write_atomic
from slipway.miniature.config import ModelConfig, read_config, read_json
from slipway.miniature.fp8 import decode_bf16
from slipway.miniature.shards import INDEX_NAME, Stored, open_shard, shard_names
from slipway.stages.surroundings import CHECKPOINT_DIR

Places = npt.NDArray[np.intp]

SHAPES: Final[Mapping[str, int]] = {
    "hidden_size": 2048, "intermediate_size": 2048, "moe_intermediate_size": 256, "n_routed_experts": 256,
    "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64, "q_lora_rank": 2048, "kv_lora_rank": 512,
    "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "qk_head_dim": 256, "v_head_dim": 256,
    "index_n_heads": 32, "index_head_dim": 128,
}  # fmt: skip
"""GLM-5.1's, with heads and the experts' width divided by eight; hidden size, layers and vocabulary stay small."""

BESIDE: Final = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
NEVER_CHOSEN: Final = -1e4
_BLOCK: Final = 128


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of a tensor.

    Attributes:
        size: How long it becomes.
        places: Where each old index goes, shape (copies, old size).
    """

    size: int
    places: Places


@dataclass(frozen=True, slots=True)
class Spread:
    """How a kind of tensor is spread.

    Attributes:
        axes: Names of its axes.
        factor: Name of what it is multiplied by; empty for one.
        rest: What stands where nothing of the old tensor does.
    """

    axes: tuple[str, ...]
    factor: str = ""
    rest: float = 0.0


SPREADS: Final[Mapping[str, Spread]] = {
    "embed_tokens": Spread(("vocabulary", "hidden")),
    "lm_head": Spread(("vocabulary", "hidden")),
    "norm": Spread(("hidden",), "hidden"),
    "input_layernorm": Spread(("hidden",), "hidden"),
    "post_attention_layernorm": Spread(("hidden",), "hidden"),
    "enorm": Spread(("hidden",), "hidden"),
    "hnorm": Spread(("hidden",), "hidden"),
    "eh_proj": Spread(("hidden", "hidden twice")),
    "q_a_proj": Spread(("query latent", "hidden")),
    "q_a_layernorm": Spread(("query latent",)),
    "q_b_proj": Spread(("query", "query latent"), "query"),
    "kv_a_proj_with_mqa": Spread(("latent and rope", "hidden")),
    "kv_a_layernorm": Spread(("latent",)),
    "kv_b_proj": Spread(("key and value", "latent"), "latent"),
    "o_proj": Spread(("hidden", "value")),
    "wq_b": Spread(("index query", "query latent"), "query latent"),
    "wk": Spread(("index key", "hidden")),
    "k_norm": Spread(("index",)),
    "k_norm.bias": Spread(("index",)),
    "weights_proj": Spread(("index heads", "hidden")),
    "gate": Spread(("experts", "hidden")),
    "gate.e_score_correction_bias": Spread(("first experts",), rest=NEVER_CHOSEN),
    "gate_proj": Spread(("width", "hidden")),
    "up_proj": Spread(("width", "hidden")),
    "down_proj": Spread(("hidden", "width")),
}
"""By the end of a tensor's name."""


def grow(target: Path, *, experts: int = SHAPES["n_routed_experts"], source: Path = CHECKPOINT_DIR) -> None:
    """Write the grown checkpoint; one that is whole already is left as it is.

    Args:
        target: Directory to write.
        experts: Routed experts of each layer.
        source: The miniature's checkpoint.

    Raises:
        Misconfigured: If the directory holds something else.
    """
    if (target / INDEX_NAME).is_file():  # written last
        return
    target.mkdir(parents=True, exist_ok=True)
    if any(target.glob("*.safetensors")):
        raise Misconfigured(f"{target} holds half a checkpoint.", remedy="Remove it, or give another directory.")
    document = _grown_config(read_json(source / "config.json"), experts)
    write_atomic(target / "config.json", json.dumps(document, indent=1).encode())
    for name in BESIDE:
        write_atomic(target / name, (source / name).read_bytes())
    _write_weights(source, target, read_config(source), read_config(target))


def _grown_config(config: Mapping[str, Any], experts: int) -> dict[str, Any]:
    eps = config["rms_norm_eps"] * config["hidden_size"] / SHAPES["hidden_size"]
    return {**config, **SHAPES, "n_routed_experts": experts, "rms_norm_eps": eps}


def _write_weights(source: Path, target: Path, old: ModelConfig, new: ModelConfig) -> None:
    """A shard for each layer and one for the rest, the index last."""
    stored = {name: each for shard in shard_names(source) for name, each in open_shard(source / shard).tensors.items()}
    placed: dict[str, str] = {}
    size_bytes = 0
    for number, layer in enumerate(sorted({_layer(name) for name in stored}), start=1):
        tensors = dict(
            grown
            for name in stored
            if _layer(name) == layer and not name.endswith("_scale_inv")
            for grown in _grown(name, stored, old, new)
        )
        shard = f"model-{number:05d}.safetensors"
        size_bytes += _write_shard(target / shard, tensors)
        placed |= dict.fromkeys(tensors, shard)
    index = {"metadata": {"total_size": size_bytes}, "weight_map": placed}
    write_atomic(target / INDEX_NAME, json.dumps(index).encode())


def _layer(name: str) -> str:
    parts = name.split(".")
    return parts[2] if parts[1] == "layers" else ""


def _grown(name: str, stored: Mapping[str, Stored], old: ModelConfig, new: ModelConfig) -> Iterator[tuple[str, Stored]]:
    """A tensor in its new shape and the factors of its blocks, under each name that it gets."""
    spread = _spread(name)
    known = axes(old, new, expert=".experts." in name or ".shared_experts." in name)
    chosen = [known[axis] for axis in spread.axes]
    factor = factors(old, new)[spread.factor]
    scales = stored.get(f"{name}_scale_inv")
    own = stored[name] if scales else _multiplied(stored[name], factor)
    grown = Stored(own.dtype, _scattered(own.values, chosen, spread.rest))
    grown_scales = Stored("F32", _block_factors(scales.values * factor, chosen)) if scales else None
    for copy in _copies(name, old, new):
        yield copy, grown
        if grown_scales:
            yield f"{copy}_scale_inv", grown_scales


def _spread(name: str) -> Spread:
    words = name.removesuffix(".weight").split(".")
    return SPREADS.get(".".join(words[-2:])) or SPREADS[words[-1]]


def _copies(name: str, old: ModelConfig, new: ModelConfig) -> Iterator[str]:
    """The names that a tensor gets: an expert's is that of others too."""
    head, found, tail = name.partition(".experts.")
    if not found:
        yield name
        return
    expert, _, rest = tail.partition(".")
    for copy in range(int(expert), new.n_routed_experts, old.n_routed_experts):
        yield f"{head}.experts.{copy}.{rest}"


def factors(old: ModelConfig, new: ModelConfig) -> dict[str, float]:
    """What makes good that a norm or a head has more dimensions, by name."""
    query_latent = (old.q_lora_rank / new.q_lora_rank) ** 0.5
    dims = (old.qk_nope_head_dim + old.qk_rope_head_dim, new.qk_nope_head_dim + new.qk_rope_head_dim)
    return {
        "": 1.0,
        "hidden": (old.hidden_size / new.hidden_size) ** 0.5,
        "query latent": query_latent,
        "query": query_latent * (dims[1] / dims[0]) ** 0.5,
        "latent": (old.kv_lora_rank / new.kv_lora_rank) ** 0.5,
    }


def axes(old: ModelConfig, new: ModelConfig, *, expert: bool) -> dict[str, Axis]:
    """Where the indices of each axis go, by the axis's name; `expert` decides which width an MLP has."""
    nope, rope = np.arange(old.qk_nope_head_dim), _rope(np.arange(old.qk_rope_head_dim))
    query = np.concatenate([nope, new.qk_nope_head_dim + rope])
    key_value = np.concatenate([nope, new.qk_nope_head_dim + np.arange(old.v_head_dim)])
    key_value_dim = new.qk_nope_head_dim + new.v_head_dim
    plain = np.arange(old.index_head_dim - old.qk_rope_head_dim)
    index = np.concatenate([rope, new.qk_rope_head_dim + plain])
    unseen = np.concatenate([rope + 2, new.qk_rope_head_dim + len(plain) + plain])
    hidden = np.arange(old.hidden_size)
    widths = [(model.moe_intermediate_size if expert else model.intermediate_size) for model in (old, new)]
    first, repeats = np.arange(old.n_routed_experts), np.arange(0, new.n_routed_experts, old.n_routed_experts)
    heads, index_heads = old.num_attention_heads, old.index_n_heads
    return {
        "vocabulary": _axis(new.vocab_size, np.arange(old.vocab_size)),
        "hidden": _axis(new.hidden_size, hidden),
        "hidden twice": _axis(2 * new.hidden_size, np.concatenate([hidden, new.hidden_size + hidden])),
        "query latent": _axis(new.q_lora_rank, np.arange(old.q_lora_rank)),
        "latent": _axis(new.kv_lora_rank, np.arange(old.kv_lora_rank)),
        "latent and rope": _axis(
            new.kv_lora_rank + new.qk_rope_head_dim,
            np.concatenate([np.arange(old.kv_lora_rank), new.kv_lora_rank + rope]),
        ),
        "query": _heads(query, heads, new.num_attention_heads, new.qk_nope_head_dim + new.qk_rope_head_dim),
        "key and value": _heads(key_value, heads, new.num_attention_heads, key_value_dim),
        "value": _heads(np.arange(old.v_head_dim), heads, new.num_attention_heads, new.v_head_dim),
        "index query": _heads(index, index_heads, new.index_n_heads, new.index_head_dim),
        "index heads": _axis(new.index_n_heads, np.arange(index_heads)),
        "index key": _axis(new.index_head_dim, index, unseen),
        "index": _axis(new.index_head_dim, index),
        "experts": _axis(new.n_routed_experts, *(first + begin for begin in repeats)),
        "first experts": _axis(new.n_routed_experts, first),
        "width": _axis(widths[1], np.arange(widths[0])),
    }


def _axis(size: int, *places: Places) -> Axis:
    return Axis(size, np.stack(places))


def _heads(within: Places, old_heads: int, new_heads: int, head_dim: int) -> Axis:
    """Heads one after the other, each with its dimensions at `within`."""
    return _axis(new_heads * head_dim, (np.arange(old_heads)[:, None] * head_dim + within).ravel())


def _rope(dimensions: Places) -> Places:
    """Pair j, dimensions 2j and 2j + 1, becomes pair 2j of twice as many, which turns as fast."""
    return dimensions // 2 * 4 + dimensions % 2


def _multiplied(tensor: Stored, factor: float) -> Stored:
    """A tensor times a factor; of BF16 a power of two, which changes no digit."""
    if factor == 1.0:
        return tensor
    if tensor.dtype == "F32":
        return Stored("F32", tensor.values * np.float32(factor))
    product = decode_bf16(tensor.values) * np.float32(factor)
    return Stored("BF16", (product.view(np.uint32) >> 16).astype(np.uint16))


def _scattered(values: npt.NDArray[Any], chosen: list[Axis], rest: float) -> npt.NDArray[Any]:
    """The values at their new places."""
    grown = np.full([axis.size for axis in chosen], rest, dtype=values.dtype)
    for rows in chosen[0].places:
        grown[np.ix_(rows, *(axis.places[0] for axis in chosen[1:]))] = values
    return grown


def _block_factors(scales: npt.NDArray[Any], chosen: list[Axis]) -> npt.NDArray[Any]:
    """The factor of each new block: that of the one old block whose values it holds, or 1 for zeros alone."""
    grown = np.ones([-(-axis.size // _BLOCK) for axis in chosen], dtype=np.float32)
    rows, columns = (_old_blocks(axis) for axis in chosen)
    for row, old_row in rows.items():
        for column, old_column in columns.items():
            grown[row, column] = scales[old_row, old_column]
    return grown


def _old_blocks(axis: Axis) -> dict[int, int]:
    """By new block along an axis, the old one that its values come from."""
    found: dict[int, int] = {}
    for places in axis.places:
        for old, new in enumerate(places):
            if found.setdefault(int(new) // _BLOCK, old // _BLOCK) != old // _BLOCK:
                raise AssertionError("values of two old blocks lie in one: they cannot keep both factors")
    return found


def _write_shard(path: Path, tensors: Mapping[str, Stored]) -> int:
    """Write a safetensors file, whose library has no NumPy type for FP8 and BF16; the bytes of its tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.values.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": tensor.values.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.values.tobytes())
    return end


if __name__ == "__main__":
    grow(Path(sys.argv[1]))
