"""The profile's value objects: frozen, every field with its meaning, unit and bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from slipway.profile.conduct import Approval, Exclusive, Strategy, Watch
from slipway.profile.gates import Gate
from slipway.profile.spec import EnvironmentName, Name, PositiveSeconds, SecretName, ServedName, Spec, Word
from slipway.profile.waivers import Expected, Waiver
from slipway.profile.workloads import Warmup, Workload


class ModelSpec(Spec):
    """Which weights are served."""

    repo: str = Field(
        description="Repository on the Hub, `organisation/name`.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$",
        max_length=200,
    )
    revision: str = Field(
        description="Commit of the weights, 40 hexadecimal digits; a branch or tag only with `allow_floating`.",
        min_length=1,
        max_length=100,
    )
    allow_floating: bool = Field(False, description="Accept a branch or tag and release what it names today.")
    served_name: ServedName = Field(description="Model name that clients send.")
    hub: str = Field(
        "default",
        description="`default`: the Hub that huggingface_hub is set to; `embedded`: the miniature's own, "
        "started for the run; or a base URL.",
        pattern=r"^(default|embedded|https?://\S+)$",
        max_length=500,
    )
    token_secret: SecretName | None = Field(
        None, description="Name of the secret that holds the Hub's token, for private and gated repositories."
    )


class WeightsSpec(Spec):
    """How the weights are brought to the platform's volume and verified there."""

    fetch_workers: int = Field(8, ge=1, le=64, description="Files fetched at the same time.")
    stall_timeout_s: PositiveSeconds = Field(
        300, description="A fetch that writes less than a MiB in this time is started again, at last over plain HTTP."
    )
    verify_workers: int = Field(1, ge=1, le=64, description="Jobs that hash the files side by side.")


class Speculation(Spec):
    """Speculative decoding from the checkpoint's own MTP layer."""

    algorithm: Literal["EAGLE"] = Field("EAGLE", description="SGLang's name for drafting with the MTP layer.")
    num_steps: int = Field(3, ge=1, le=16, description="Draft steps for each verification (K).")
    eagle_topk: int = Field(1, ge=1, le=16, description="Branches of the draft tree; 1 is a chain.")
    num_draft_tokens: int = Field(4, ge=2, le=64, description="Tokens verified at once; K + 1 for a chain.")
    moe_runner_backend: Word | None = Field(
        None, description="Kernel for the draft layer's experts; none: the engine's choice."
    )

    @model_validator(mode="after")
    def _chain_has_one_token_more(self) -> Self:
        if self.eagle_topk == 1 and self.num_draft_tokens != self.num_steps + 1:
            raise ValueError(
                f"num_draft_tokens is {self.num_draft_tokens}, but a chain (eagle_topk: 1) of "
                f"{self.num_steps} steps verifies {self.num_steps + 1} tokens"
            )
        return self


class EngineSpec(Spec):
    """What is asked of the engine. Rendered to a command line by version in `slipway.engine.command`."""

    kind: Literal["sglang", "miniature"] = Field(description="What serves tokens.")
    version: str = Field(
        description="SGLang's release; flags are rendered for it.",
        pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(\.post[0-9]+)?$",
        max_length=30,
    )
    image: str | None = Field(
        None,
        description="Container image, tag and digest (`name:tag@sha256:…`); none on the local platform.",
        pattern=r"^\S+$",
        max_length=500,
    )
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8_e4m3"] = Field(
        description="Type of the KV cache; always passed on, since `auto` is FP8 on Blackwell: preflight refuses it."
    )
    tp_size: int = Field(1, ge=1, le=64, description="Tensor-parallel GPUs.")
    ep_size: int = Field(1, ge=1, le=64, description="Expert-parallel GPUs.")
    context_length: int = Field(ge=128, le=1_048_576, description="Longest request, prompt and answer, in tokens.")
    max_running_requests: int = Field(
        ge=1, le=4096, description="Requests decoded at once; the rest wait in the engine's queue."
    )
    max_total_tokens: int | None = Field(
        None,
        ge=256,
        le=1_000_000_000,
        description="Size of the whole KV pool in tokens, for all requests together; none: as memory allows.",
    )
    chunked_prefill_size: int | None = Field(
        None, ge=64, le=1_048_576, description="Prompt tokens computed in one step."
    )
    max_prefill_tokens: int | None = Field(None, ge=64, le=1_048_576, description="Prompt tokens of one prefill batch.")
    mem_fraction_static: float | None = Field(
        None, gt=0, lt=1, description="Weights and KV pool as a share of a GPU's memory."
    )
    sparse_prefill_backend: Word | None = Field(None, description="Kernel for sparse attention in prefill.")
    sparse_decode_backend: Word | None = Field(None, description="Kernel for sparse attention in decode.")
    moe_runner_backend: Word | None = Field(None, description="Kernel for the routed experts.")
    fp8_gemm_backend: Word | None = Field(
        None, description="Kernel for FP8 matrices outside the experts; none: DeepGEMM where the GPU has it."
    )
    allreduce_fusion: bool = Field(False, description="Fuse all-reduce with the norm after it (FlashInfer).")
    speculation: Speculation | None = Field(None, description="Speculative decoding; none: off.")
    trust_remote_code: bool = Field(
        False, description="Let the checkpoint run Python code of its own; models that the engine knows need none."
    )
    reasoning_parser: Word | None = Field("glm45", description="Splits reasoning from the answer.")
    tool_call_parser: Word | None = Field("glm47", description="Reads tool calls out of the answer.")
    watchdog_timeout_s: float = Field(
        300, gt=0, le=3600, description="A forward pass that takes longer ends the engine."
    )
    loader_threads: int | None = Field(
        None, ge=1, le=256, description="Threads that read weights; none: the engine's default."
    )
    env: dict[EnvironmentName, str] = Field(
        default_factory=dict, description="Environment of the engine, beyond Slipway's; kept in the record: no secrets."
    )


class Hardware(Spec):
    """What the engine runs on, and what that costs."""

    gpu: Word | None = Field(None, description="GPU type by Modal's name, without `+`; none: CPU only.")
    gpu_count: int = Field(0, ge=0, le=8, description="GPUs of one replica.")
    cost_per_hour_usd: float = Field(0, ge=0, le=1000, description="Price of one replica for an hour.")
    job_cpu_cores: float = Field(
        4, gt=0, le=64, description="Cores of what needs no GPUs: jobs on weights, measuring, a replica without GPUs."
    )
    job_memory_mib: int = Field(8192, ge=128, le=344_064, description="Memory of the same.")


class Scaling(Spec):
    """How many replicas, and how much each takes at once."""

    min_containers: int = Field(0, ge=0, le=100, description="Replicas kept warm.")
    max_containers: int = Field(1, ge=1, le=100, description="Replicas at most.")
    scaledown_window_s: int = Field(900, ge=2, le=1200, description="Idle time after which a replica ends.")
    max_concurrent_inputs: int = Field(
        ge=1,
        le=4096,
        description="Requests one replica takes at once, as many as `max_running_requests`; more open another.",
    )
    startup_timeout_s: PositiveSeconds = Field(description="From start to the first completed inference.")
    request_timeout_s: PositiveSeconds = Field(600, description="Longest request.")
    stop_grace_s: PositiveSeconds = Field(20, description="Time to finish requests when told to stop.")

    @model_validator(mode="after")
    def _least_is_not_above_most(self) -> Self:
        if self.min_containers > self.max_containers:
            raise ValueError(f"min_containers {self.min_containers} is above max_containers {self.max_containers}")
        return self


class Budget(Spec):
    """What a run may take."""

    max_cost_usd: float = Field(0, ge=0, le=10_000, description="Dollars for one run; 0: not limited.")
    max_run_s: PositiveSeconds = Field(description="Deadline of one run.")


class Profile(Spec):
    """A release target."""

    name: Name = Field(description="Name of the profile; its file is `<name>.yaml`.")
    description: str = Field(min_length=1, max_length=500, description="One sentence for people who choose.")
    app: Name = Field(description="What users reach: one live release each.")
    platform: Literal["local", "modal"] = Field(description="Where it runs.")
    model: ModelSpec = Field(description="Which weights are served.")
    weights: WeightsSpec = Field(
        default_factory=WeightsSpec, description="How the weights are brought to the volume and verified there."
    )
    engine: EngineSpec = Field(description="What is asked of the engine.")
    hardware: Hardware = Field(description="What the engine runs on, and what that costs.")
    scaling: Scaling = Field(description="How many replicas, and how much each takes at once.")
    warmup: Warmup = Field(description="When a start counts as warm.")
    workloads: dict[Name, Workload] = Field(max_length=50, description="What is measured, by name.")
    gates: tuple[Gate, ...] = Field(min_length=1, max_length=100, description="What a candidate must show.")
    measure_live: bool = Field(
        False,
        description="Measure the live release in turn with the candidate, block by block, and compare with it instead "
        "of with the accepted releases before: surer, and twice the GPU time.",
    )
    strategy: Strategy = Field(
        "candidate",
        description="`candidate`: tried beside the live release. `in_place`: the live release is stopped first, for "
        "where there are GPUs for one only; users wait meanwhile, and it is started again if the run fails.",
    )
    exclusive: Exclusive = Field(
        default_factory=Exclusive, description="What a run does while another one holds the app."
    )
    approval: Approval = Field(
        default_factory=Approval, description="Whether a person decides before users are switched."
    )
    watch: Watch = Field(default_factory=Watch, description="What is looked at after a promotion.")
    budget: Budget = Field(description="What a run may take.")
    expected: Expected = Field(
        default_factory=Expected, description="Figures that people count on; preflight says which cannot be."
    )
    waivers: tuple[Waiver, ...] = Field(
        (), max_length=50, description="Findings of preflight that are accepted, each with a reason and a last day."
    )
    api_key_secret: SecretName = Field(
        "SLIPWAY_API_KEY", description="Name of the secret that holds the endpoint's API key."
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if problems := [*self._numbers_that_differ(), *self._lengths_that_do_not_fit(), *self._gates_that_cannot_be()]:
            raise ValueError("; ".join(problems))
        return self

    def _numbers_that_differ(self) -> Iterator[str]:
        if self.engine.tp_size != max(self.hardware.gpu_count, 1):
            yield (
                f"engine.tp_size is {self.engine.tp_size}, but a replica has "
                f"{self.hardware.gpu_count} GPUs (hardware.gpu_count)"
            )

    def _lengths_that_do_not_fit(self) -> Iterator[str]:
        lengths = {f"workloads.{name}.max_tokens": workload.max_tokens for name, workload in self.workloads.items()}
        lengths["warmup.prompt_tokens"] = max(self.warmup.prompt_tokens, default=0)
        for name, tokens in lengths.items():
            if tokens >= self.engine.context_length:
                yield f"{name} is {tokens}, but engine.context_length is {self.engine.context_length}"

    def _gates_that_cannot_be(self) -> Iterator[str]:
        for gate in self.gates:
            if gate.workload is None:
                continue
            if gate.workload not in self.workloads:
                yield f"gate {gate.gate_id} names a workload that is not defined"
            elif gate.metric == "tool_calls" and set(self.workloads[gate.workload].kinds) != {"tool"}:
                yield f"gate {gate.gate_id} needs a workload of tool calls only"
        for gate_id, times in Counter(gate.gate_id for gate in self.gates).items():
            if times > 1:
                yield f"gate {gate_id} is defined {times} times"
