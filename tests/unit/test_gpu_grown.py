"""The miniature grown to the shapes of GPU kernels: it computes what it did before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from scripts.gpu.grown import NEVER_CHOSEN, SHAPES, grow
from slipway.engine.log_start import GemmShape
from slipway.errors import Misconfigured
from slipway.kernels.shapes import FP8, expected_shapes
from slipway.miniature import attention
from slipway.miniature.batch import prefill_batch
from slipway.miniature.config import read_config, read_json
from slipway.miniature.forward import Forward
from slipway.miniature.fp8 import FloatArray
from slipway.miniature.model import Model, load
from slipway.miniature.shards import Checkpoint
from tests.support.engine_runs import model

pytestmark = pytest.mark.slow

FIXTURE = Path(__file__).parents[1] / "fixtures" / "miniature" / "logits.safetensors"
EXPERTS = 16  # two of each; with all 256 the forward pass in NumPy would take gigabytes
SPARSE_TOPK = 8
TOLERANCE = 0.02
ALIKE = 0.9
"""Of the tokens; of 8 keys kept, one at the border may be another where scores differ in the last digit."""

RECORDED = {(2624, 2048), (2048, 2048), (128, 2048), (3584, 512), (4096, 2048)}
"""What DeepGEMM was asked for by a checkpoint of these shapes (fixtures/sglang/compile.log)."""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("grown") / "model"
    grow(target, experts=EXPERTS)
    return target


@pytest.fixture(scope="module")
def big(grown: Path) -> Model:
    return load(grown)


def ids() -> np.ndarray:
    with safe_open(FIXTURE, "np") as file:
        return np.asarray(file.get_tensor("retrieval.input_ids"))


def outputs(of: Model, index_topk: int) -> tuple[FloatArray, FloatArray]:
    """Logits of the trunk and of the draft layer."""
    tokens = ids()
    forward = Forward(replace(of, config=of.config.model_copy(update={"index_topk": index_topk})), 1, len(tokens))
    batch = prefill_batch(0, 0, len(tokens))
    hidden = forward.trunk(tokens, batch)
    return forward.logits(hidden), forward.logits(forward.draft(tokens, hidden, batch))


@pytest.mark.parametrize("index_topk", [2048, SPARSE_TOPK], ids=["dense", "sparse"])
def test_it_says_what_the_miniature_says(big: Model, index_topk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # In float32: a key that BF16 moves across the border of the top 8 moves the logits.
    monkeypatch.setattr(attention, "round_to_bf16_", lambda values: values)
    for small, large in zip(outputs(model(), index_topk), outputs(big, index_topk), strict=True):
        apart = np.linalg.norm(large - small, axis=1) / np.linalg.norm(small, axis=1)
        assert (apart < TOLERANCE).mean() > ALIKE


def test_what_it_says_shows_which_keys_it_attends_to(big: Model) -> None:
    dense, sparse = (outputs(big, index_topk)[0] for index_topk in (2048, SPARSE_TOPK))
    apart = np.linalg.norm(dense - sparse, axis=1) / np.linalg.norm(dense, axis=1)
    assert (apart < TOLERANCE).mean() < 1 - ALIKE


def test_it_has_the_shapes_that_kernels_exist_for(grown: Path) -> None:
    config = read_json(grown / "config.json")
    shapes = expected_shapes(config, tp_size=1, architecture="sm_90", moe_runner_backend=None)
    assert shapes == {GemmShape(FP8, n, k) for n, k in RECORDED}
    assert {name: config[name] for name in SHAPES} == {**SHAPES, "n_routed_experts": EXPERTS}


def test_experts_beyond_the_miniatures_are_its_own_and_never_chosen(grown: Path) -> None:
    checkpoint = Checkpoint(grown, read_config(grown))
    bias = checkpoint.tensor("model.layers.1.mlp.gate.e_score_correction_bias", EXPERTS)
    assert (bias[8:] == NEVER_CHOSEN).all()
    assert (bias[:8] > NEVER_CHOSEN).all()
    first, copy = (
        checkpoint.tensor(f"model.layers.1.mlp.experts.{expert}.up_proj.weight", 256, 2048) for expert in (3, 11)
    )
    assert (first == copy).all()


def test_a_whole_checkpoint_is_left_as_it_is_and_half_of_one_is_refused(grown: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in grown.iterdir()}
    grow(grown)
    assert {path: path.stat().st_mtime_ns for path in grown.iterdir()} == before
    (tmp_path / "model-00001.safetensors").touch()
    with pytest.raises(Misconfigured, match="half a checkpoint"):
        grow(tmp_path)
