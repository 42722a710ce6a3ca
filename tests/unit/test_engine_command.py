"""The engine's command line: the whole of it for the big model, and what differs between releases."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from slipway.engine.command import EngineCommand, render
from slipway.engine.parser.options import Objection, Parser, objections, parser_of
from slipway.engine.parser.tables import order, recorded, table_of
from slipway.engine.spellings import OPTIONS, words
from slipway.errors import Misconfigured
from slipway.miniature.args import resolve
from slipway.platforms.placeholders import expand
from slipway.profile import EngineSpec, Profile, Speculation, load_profile

CHECKPOINT = Path(__file__).parents[2] / "slipway" / "miniature" / "checkpoint"


def of_version(version: str, **engine: object) -> Profile:
    profile = load_profile("glm51")
    return profile.model_copy(update={"engine": profile.engine.model_copy(update={"version": version, **engine})})


def rendered(profile: Profile, kernel_dir: str | None = None) -> EngineCommand:
    return render(profile, model_dir="${weights}/abc", kernel_dir=kernel_dir, release_id="glm51.1")


def flags(profile: Profile) -> dict[str, str]:
    argv = rendered(profile).argv
    values = dict(zip(argv, [*argv[1:], ""], strict=True))
    return {word: "" if value.startswith("--") else value for word, value in values.items() if word.startswith("--")}


def test_whole_command_of_the_big_model() -> None:
    command = rendered(load_profile("glm51"))
    assert " ".join(command.argv) == (
        "python3 -m sglang.launch_server --model-path ${weights}/abc --served-model-name glm-5.1"
        " --weight-version glm51.1 --host 0.0.0.0 --port ${port} --tp-size 8 --ep-size 1 --context-length 202752"
        " --kv-cache-dtype bfloat16 --max-running-requests 48 --cuda-graph-max-bs 48 --chunked-prefill-size 32768"
        " --max-prefill-tokens 32768 --mem-fraction-static 0.88 --reasoning-parser glm45 --tool-call-parser glm47"
        " --watchdog-timeout 1200 --moe-runner-backend flashinfer_trtllm --attention-backend nsa"
        " --nsa-prefill-backend trtllm --nsa-decode-backend trtllm --speculative-algorithm EAGLE"
        " --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4"
        ' --model-loader-extra-config {"enable_multithread_load": true, "num_threads": 64}'
        " --enable-metrics --enable-flashinfer-allreduce-fusion"
    )
    assert command.env == {"SGLANG_ENABLE_SPEC_V2": "1"}


RELEASES = list(recorded())


def objections_to(profile: Profile) -> tuple[Objection, ...]:
    """What the recorded parser of the profile's release has against its command line."""
    argv = expand(rendered(profile).options, {"port": "8000", "weights": "/weights"})
    return objections(parser_for(profile.engine.version), table_of(profile.engine.version).options, argv)


@cache
def parser_for(version: str) -> Parser:
    return parser_of(table_of(version).options)


@pytest.mark.parametrize("version", RELEASES)
def test_every_release_accepts_the_big_model(version: str) -> None:
    assert objections_to(of_version(version)) == ()


@pytest.mark.parametrize("version", RELEASES)
def test_every_row_is_words_of_its_release(version: str) -> None:
    """Every option that can be meant exists in every release, is not on its way out, and takes what it is given."""
    by_name = {spelled: option for option in table_of(version).options for spelled in option.names}
    for spellings in OPTIONS.values():
        pairs = [group.split() for group in words(spellings, version).replace(" --", "\n--").splitlines()]
        for flag, *values in pairs:
            option = by_name[flag]
            assert option.deprecated is None
            assert (option.nargs == 0) is not bool(values)
            assert option.choices is None or set(values) - {"{}"} <= set(option.choices)


@pytest.mark.parametrize("version", RELEASES)
def test_every_variable_is_declared_by_its_release(version: str) -> None:
    assert rendered(of_version(version)).env.keys() <= table_of(version).variables.keys()


def backends(name: str) -> SearchStrategy[str | None]:
    """What every release takes for an option."""
    takes = [set(o.choices or ()) for t in recorded().values() for o in t.options if name in o.names]
    return st.none() | st.sampled_from(sorted(set.intersection(*takes)))


ENGINES = st.fixed_dictionaries(
    {
        "version": st.sampled_from(RELEASES),
        "kv_cache_dtype": st.sampled_from(["auto", "bfloat16", "fp8_e4m3"]),
        "tp_size": st.integers(1, 64),
        "ep_size": st.integers(1, 64),
        "context_length": st.integers(128, 1 << 20),
        "max_running_requests": st.integers(1, 4096),
        "max_total_tokens": st.none() | st.integers(256, 10**9),
        "chunked_prefill_size": st.none() | st.integers(64, 1 << 20),
        "max_prefill_tokens": st.none() | st.integers(64, 1 << 20),
        "mem_fraction_static": st.none() | st.floats(0.01, 0.99),
        "sparse_prefill_backend": backends("--dsa-prefill-backend"),
        "sparse_decode_backend": backends("--dsa-decode-backend"),
        "moe_runner_backend": backends("--moe-runner-backend"),
        "fp8_gemm_backend": backends("--fp8-gemm-backend"),
        "allreduce_fusion": st.booleans(),
        "trust_remote_code": st.booleans(),
        "reasoning_parser": backends("--reasoning-parser"),
        "tool_call_parser": backends("--tool-call-parser"),
        "watchdog_timeout_s": st.floats(0.1, 3600),
        "loader_threads": st.none() | st.integers(1, 256),
        "speculation": st.none()
        | st.integers(1, 16).map(lambda steps: Speculation(num_steps=steps, num_draft_tokens=steps + 1))
        | backends("--speculative-moe-runner-backend").map(lambda runner: Speculation(moe_runner_backend=runner))
        | st.builds(Speculation, eagle_topk=st.integers(2, 16), num_draft_tokens=st.integers(2, 64)),
    }
)


@pytest.mark.slow
@given(ENGINES)
def test_whatever_a_profile_means_its_release_accepts(engine: dict[str, object]) -> None:
    profile = load_profile("glm51")
    spec = EngineSpec.model_validate(profile.engine.model_dump() | {k: plain(v) for k, v in engine.items()})
    meant = profile.model_copy(update={"engine": spec})
    assert objections_to(meant) == ()
    command = rendered(meant)
    assert len([w for w in command.argv if w.startswith("--")]) == len({w for w in command.argv if w.startswith("--")})
    assert "None" not in command.argv


def plain(value: object) -> object:
    return value.model_dump() if isinstance(value, Speculation) else value


@pytest.mark.parametrize("version", RELEASES)
def test_sparse_attention_has_the_name_of_its_release(version: str) -> None:
    new, old = ("dsa", "nsa") if order(version) >= order("0.5.13") else ("nsa", "dsa")
    given = flags(of_version(version))
    assert given["--attention-backend"] == new
    assert given[f"--{new}-prefill-backend"] == given[f"--{new}-decode-backend"] == "trtllm"
    assert not any(flag.startswith(f"--{old}") for flag in given)


@pytest.mark.parametrize("version", RELEASES)
def test_what_changed_its_name_in_0_5_14(version: str) -> None:
    given = flags(of_version(version))
    new = order(version) >= order("0.5.14")
    assert (given.get("--flashinfer-allreduce-fusion-backend") == "auto") is new
    assert ("--enable-flashinfer-allreduce-fusion" in given) is not new
    assert given["--cuda-graph-max-bs-decode" if new else "--cuda-graph-max-bs"] == "48"
    without = flags(of_version(version, allreduce_fusion=False))
    assert [flag for flag in without if "allreduce" in flag] == ["--enforce-disable-flashinfer-allreduce-fusion"]


@pytest.mark.parametrize("version", RELEASES)
def test_overlapped_speculation_is_said_where_it_is_a_choice(version: str) -> None:
    choice = order(version) < order("0.5.14")
    assert rendered(of_version(version)).env == ({"SGLANG_ENABLE_SPEC_V2": "1"} if choice else {})
    tree = Speculation(num_steps=3, eagle_topk=2, num_draft_tokens=8)
    assert rendered(of_version(version, speculation=tree)).env == ({"SGLANG_ENABLE_SPEC_V2": "0"} if choice else {})
    assert rendered(of_version(version, speculation=None)).env == {}


@pytest.mark.parametrize("version", RELEASES)
def test_in_every_release(version: str) -> None:
    given = flags(of_version(version))
    assert given["--kv-cache-dtype"] == "bfloat16"
    assert given["--tp-size"] == "8"
    assert not {"--tp", "--trust-remote-code", "--api-key", "--admin-api-key"} & given.keys()


def test_draft_experts_have_their_own_kernel() -> None:
    given = flags(of_version("0.5.15", speculation=Speculation(moe_runner_backend="triton")))
    assert given["--speculative-moe-runner-backend"] == "triton"
    assert given["--speculative-moe-a2a-backend"] == "none"


def test_own_environment_wins() -> None:
    assert rendered(of_version("0.5.10", env={"SGLANG_ENABLE_SPEC_V2": "0"})).env["SGLANG_ENABLE_SPEC_V2"] == "0"


def test_what_is_not_asked_for_is_left_out() -> None:
    plain = of_version(
        "0.5.11",
        speculation=None,
        loader_threads=None,
        sparse_prefill_backend=None,
        sparse_decode_backend=None,
        reasoning_parser=None,
    )
    given = flags(plain)
    for part in ("speculative", "loader", "attention", "nsa", "reasoning", "max-total"):
        assert not any(part in flag for flag in given)
    assert "None" not in rendered(plain).argv


@pytest.mark.parametrize("version", ["0.5.9", "0.5.24", "0.6.0", "1.0.0", "0.5.11.post1"])
def test_unknown_release_names_the_known_ones(version: str) -> None:
    with pytest.raises(Misconfigured, match=r"Known are 0\.5\.10, .*0\.5\.12\.post1, .*0\.5\.23\."):
        rendered(of_version(version))


def test_miniature_is_reached_from_this_machine_only_and_its_cache_is_named() -> None:
    command = rendered(load_profile("miniature"), kernel_dir="${kernels}/k")
    assert command.argv[:3] == ("${python}", "-m", "slipway.miniature.server")
    assert command.argv[command.argv.index("--host") + 1] == "127.0.0.1"
    assert command.env == {"SLIPWAY_MINIATURE_CACHE_DIR": "${kernels}/k"}
    assert rendered(load_profile("miniature")).env == {}


def test_miniature_accepts_its_command_line() -> None:
    profile = load_profile("miniature")
    command = render(profile, model_dir=str(CHECKPOINT), kernel_dir=None, release_id="mini.1")
    resolution = resolve(expand(list(command.argv[3:]), {"port": "30001"}))
    args, engine = resolution.args, profile.engine
    assert resolution.notices == ()
    assert engine.speculation
    assert (args.port, args.weight_version, args.served_model_name) == (30001, "mini.1", "glm-5-1-miniature")
    assert (args.kv_cache_dtype, args.context_length) == (engine.kv_cache_dtype, engine.context_length)
    assert (args.max_running_requests, args.max_total_tokens) == (engine.max_running_requests, engine.max_total_tokens)
    assert args.speculative_num_draft_tokens == engine.speculation.num_draft_tokens
    assert args.api_key is None
