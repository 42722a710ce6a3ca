"""The kernel stage for SGLang: what it orders, when it does nothing, and what it refuses before any GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from slipway.errors import Corrupt, Misconfigured
from slipway.kernels.build import PORT, Order
from slipway.kernels.cache import CachedFile, Marker, marker_path
from slipway.kernels.key import kernel_key
from slipway.platforms.port import Deployment, Job, Lifetime, Phase, Platform, ServerStatus
from slipway.profile import load_profile
from slipway.records.record import StageStatus
from slipway.stages.candidate import server_spec
from slipway.stages.kernels import compiled_anew, precompile_kernels
from slipway.stages.planning import kernel_volume
from slipway.stages.run import Run
from slipway.weights.manifest import Manifest, ManifestFile
from tests.support.stage_platform import MemoryPlatform

BIG = load_profile("glm51")
FILE = ManifestFile(path="config.json", size_bytes=1, sha256="0" * 64)
RESULT = {
    "units": 55,
    "size_bytes": 4_000_000,
    "seconds": 428.0,
    "shapes": 9,
    "added_by_start": 31,
    "start_s": {"total": 160.0},
    "load_s": {},
}


class Jobs(MemoryPlatform):
    """A platform whose jobs do nothing but leave what the real one would, or not."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Job] = []
        self.leaves: dict[str, bytes] = {}

    def start_job(self, job: Job) -> Jobs:
        self.started.append(job)
        return self

    def lifetimes(self, deployment: Deployment | None = None) -> Sequence[Lifetime]:
        return ()

    def wait(self, **_: Any) -> dict[str, Any]:
        self.volume(kernel_volume(BIG)).files.update(self.leaves)
        return RESULT


def a_run(platform: Jobs, **engine: Any) -> Run:
    hardware = BIG.hardware.model_copy(update={"gpu": engine.pop("gpu", "B200")})
    profile = BIG.model_copy(update={"hardware": hardware, "engine": BIG.engine.model_copy(update=engine)})
    run = Run(profile, cast("Platform", platform), "http://hub")
    run.manifest = Manifest(repo="zai-org/GLM-5.1-FP8", commit="c" * 40, files=(FILE,))
    run.kernel_key = kernel_key(profile, run.manifest.digest)
    archive = {"a.tar.gz": CachedFile(size_bytes=3, sha256="0" * 64)}
    marker = Marker(key=run.kernel_key.digest, parts={}, files=archive, compile_s=1.0, contents=archive)
    platform.leaves = {
        f"{run.kernel_key.digest}/a.tar.gz": b"123",
        marker_path(run.kernel_key.digest): marker.model_dump_json().encode(),
    }
    return run


@pytest.fixture
def platform() -> Jobs:
    return Jobs()


def test_build_is_ordered_with_the_serving_command_line(platform: Jobs) -> None:
    run = a_run(platform)
    precompile_kernels(run)
    (job,) = platform.started
    assert job.function == "slipway.kernels.build:build"
    assert [(mount.name, mount.read_only) for mount in job.mounts] == [("weights", True), ("kernels", False)]
    order = Order.model_validate(job.arguments["order"])
    serving = server_spec(run.profile, run.manifest, run.kernel_key, run.release_id).argv
    assert order.argv == [word.replace("${port}", PORT) for word in serving[serving.index("--") + 1 :]]
    assert not any("api-key" in word for word in order.argv)
    assert serving[serving.index("--prompt-tokens") + 1] == "34000", "later replicas have nobody who warms them up"
    assert (order.gpu, order.tp_size, order.concurrency) == ("B200", 8, 48)
    assert order.lengths == [64, 2560, 34000]  # past index_topk, and two chunks of prefill
    assert order.deadline_s <= BIG.budget.max_run_s
    message = run.record.stages[-1].message
    assert message.startswith("55 units, ")
    assert message.endswith("9 shapes in 7m08s, 31 files more by the first start and its load")


def test_server_is_given_the_key_of_its_cache(platform: Jobs) -> None:
    run = a_run(platform)
    argv = server_spec(run.profile, run.manifest, run.kernel_key, run.release_id).argv
    at = argv.index("--kernels")
    assert argv[at : at + 4] == ("--kernels", "${kernels}", "--kernel-key", run.kernel_key.digest)
    assert at < argv.index("--")


def test_skipped_where_marker_and_files_are_there(platform: Jobs) -> None:
    run = a_run(platform)
    platform.volume(kernel_volume(BIG)).files.update(platform.leaves)
    precompile_kernels(run)
    assert platform.started == []
    assert run.record.stages[-1].status is StageStatus.SKIPPED


def test_not_skipped_for_files_alone(platform: Jobs) -> None:
    run = a_run(platform)
    platform.volume(kernel_volume(BIG)).write(f"{run.kernel_key.digest}/a.tar.gz", b"123")
    precompile_kernels(run)
    assert len(platform.started) == 1


def test_result_that_the_volume_does_not_show_is_not_believed(platform: Jobs) -> None:
    run = a_run(platform)
    platform.leaves = {}
    with pytest.raises(Corrupt, match="the volume does not show them"):
        precompile_kernels(run)


@pytest.mark.parametrize("changes", [{"gpu": "H100"}, {"gpu": "A100"}, {"gpu": None}])
def test_architecture_that_does_not_fit_is_refused_before_any_gpu(platform: Jobs, changes: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        precompile_kernels(a_run(platform, **changes))
    assert platform.started == []


def test_what_a_server_compiled_is_told_with_what_differs(platform: Jobs) -> None:
    run = a_run(platform)
    assert compiled_anew(run, ServerStatus(Phase.READY)) is None
    missed = ServerStatus(Phase.READY, kernels=("none were given: no cache",))
    assert compiled_anew(run, missed) == ("none were given: no cache", "in the volume: no cache was made yet")
    platform.volume(kernel_volume(BIG)).files.update(platform.leaves)
    assert compiled_anew(run, missed) == missed.kernels
    assert compiled_anew(run, ServerStatus(Phase.READY, kernels=())) == ()


@pytest.mark.parametrize(("misses", "told"), [(0, ()), (2, ("the engine compiled 2 units at its start",))])
def test_the_miniature_counts_by_itself(platform: Jobs, misses: int, told: tuple[str, ...]) -> None:
    run = a_run(platform)
    run.record.server = {"kernel_cache": {"hits": 4, "misses": misses}}
    assert compiled_anew(run, ServerStatus(Phase.READY)) == told
