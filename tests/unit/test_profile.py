"""Profiles: both that come with Slipway load; whatever is wrong with one is named, and nothing else happens."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from slipway.errors import Misconfigured
from slipway.miniature.hub import commit_of
from slipway.profile import Profile, load_profile, profile_names
from slipway.profile.document import read_yaml
from slipway.profile.load import parse_profile, profile_directory
from slipway.profile.spec import Spec

SHIPPED = ("glm51", "miniature")


@functools.cache
def _shipped(name: str) -> dict[str, Any]:
    return yaml.safe_load((profile_directory() / f"{name}.yaml").read_text(encoding="utf-8"))


def document(name: str = "miniature") -> dict[str, Any]:
    return copy.deepcopy(_shipped(name))


def changed(path: str, value: Any, *, of: str = "miniature") -> dict[str, Any]:
    """The shipped document with the value at a dotted path replaced or added."""
    whole = document(of)
    *parents, last = path.split(".")
    target: Any = whole
    for part in parents:
        target = target[int(part) if isinstance(target, list) else part]
    target[int(last) if isinstance(target, list) else last] = value
    return whole


def refusal(broken: Any) -> str:
    with pytest.raises(Misconfigured) as caught:
        parse_profile(broken, source="here.yaml")
    assert caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profile_loads_and_is_frozen(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    with pytest.raises(ValueError, match="frozen"):
        profile.name = "other"


def test_every_shipped_profile_is_tested() -> None:
    assert profile_names() == sorted(SHIPPED)


def test_profile_survives_json() -> None:
    profile = load_profile("glm51")
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_miniature_is_pinned_to_the_committed_checkpoint() -> None:
    checkpoint = Path(__file__).parents[2] / "slipway" / "miniature" / "checkpoint"
    assert load_profile("miniature").model.revision == commit_of(checkpoint)


def test_revision_can_be_replaced() -> None:
    assert load_profile("miniature", revision="a" * 40).model.revision == "a" * 40


# --- every field explains itself -------------------------------------------------------------------------------


def specs(kind: type[Spec] = Spec) -> list[type[BaseModel]]:
    return [model for child in kind.__subclasses__() for model in (child, *specs(child))]


FIELDS = [(model, name) for model in specs() for name in model.model_fields]


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_field_has_a_description_and_numbers_have_bounds(model: type[BaseModel], name: str) -> None:
    schema = model.model_json_schema(by_alias=False)["properties"][name]
    assert model.model_fields[name].description
    options = [schema, *schema.get("anyOf", []), schema.get("items", {})]
    for option in options:
        if option.get("type") in {"integer", "number"}:
            assert {"minimum", "exclusiveMinimum"} & option.keys(), "no lower bound"
            assert {"maximum", "exclusiveMaximum"} & option.keys(), "no upper bound"


# --- what is wrong is named ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("platfrom", "'platform'"),
        ("engine.kv_cache_type", "'kv_cache_dtype'"),
        ("engine.speculation.num_step", "'num_steps'"),
        ("workloads.chat.concurency", "'concurrency'"),
        ("gates.2.at_mots", "'at_most'"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_valid_one(path: str, hint: str) -> None:
    message = refusal(changed(path, 1))
    assert f"{path}: unknown key; did you mean {hint}?" in message


def test_unknown_key_that_resembles_nothing_gets_no_hint() -> None:
    message = refusal(changed("engine.zzzz", 1))
    assert "engine.zzzz: unknown key" in message
    assert "did you mean" not in message


def test_all_broken_rules_are_named() -> None:
    broken = changed("engine.tp_size", 0)
    broken["budget"]["max_run_s"] = -1
    broken["colour"] = "blue"
    message = refusal(broken)
    for part in ("engine.tp_size", "budget.max_run_s", "colour", "3 thing(s)", "here.yaml"):
        assert part in message


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("engine.speculation.num_draft_tokens", 5, "verifies 4 tokens"),
        ("scaling.min_containers", 2, "min_containers 2 is above max_containers 1"),
        ("engine.tp_size", 2, "hardware.gpu_count"),
        ("warmup.prompt_tokens", [64, 4096], "warmup.prompt_tokens is 4096"),
        ("workloads.chat.max_tokens", 4096, "workloads.chat.max_tokens is 4096"),
        ("gates.4.workload", "chats", "ttft_s.p50@chats names a workload that is not defined"),
        ("gates.10.workload", "chat", "needs a workload of tool calls only"),
        ("gates.4.workload", None, "needs a workload"),
        ("gates.4.at_least", 0.1, "exactly one of at_most, at_least, worse_by"),
        ("gates.4.statistic", "share", "ttft_s has no share, only mean, p50, p95"),
        ("gates.8.statistic", "mean", "accuracy has no mean"),
        ("gates.8.at_least", 90, "its limit is at most 1"),
        ("gates.6.at_least", 4, "at_least 4.0 is not below at_most 3.95"),
        ("gates.9.worse_by", 0.1, "exactly one of"),
        ("gates.0.metric", "drift", "there is no metric 'drift'"),
        ("gates.0.workload", "chat", "takes no workload"),
        ("gates.0.at_most", 0, "takes no limit"),
        ("gates.0.statistic", "share", "config_drift has no share"),
        ("model.revision", 5, "write it in quotes"),
        ("engine.version", "latest", "engine.version"),
        ("app", "Not A Name", "app"),
        ("hardware.gpu", "B200+", "hardware.gpu"),
    ],
)
def test_rule_is_explained(path: str, value: object, said: str) -> None:
    assert said in refusal(changed(path, value))


def test_tree_drafts_are_not_bound_to_the_chain_rule() -> None:
    tree = changed("engine.speculation", {"num_steps": 3, "eagle_topk": 2, "num_draft_tokens": 8})
    assert parse_profile(tree, source="tree").engine.speculation


def test_gate_given_twice_is_refused() -> None:
    twice = document()
    twice["gates"].append(twice["gates"][4])
    assert "gate ttft_s.p50@chat is defined 2 times" in refusal(twice)


def test_secret_written_in_place_of_its_name_is_not_repeated() -> None:
    for path in ("api_key_secret", "model.token_secret"):
        message = refusal(changed(path, "hf_s3cr3t-value"))
        assert path in message
        assert "s3cr3t" not in message


# --- files -----------------------------------------------------------------------------------------------------


def test_profile_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(Misconfigured, match="glm51, miniature"):
        load_profile("glm52")


@pytest.mark.parametrize("content", [b"name: \xff\xfe", b"\x00"])
def test_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"p\.yaml"):
        load_profile(str(path))


def test_directory_and_impossible_path(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").mkdir()
    for path in (str(tmp_path / "d.yaml"), "nul\0.yaml"):
        with pytest.raises(Misconfigured, match="cannot be read"):
            load_profile(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: 2024-13-45",  # no date: PyYAML raises ValueError
        f"a: {'9' * 5000}",  # more digits than Python converts
        "[" * 1000,  # deeper than Python recurses
        "!!python/object/apply:os.system ['true']",
        "{a: 1, a: 2}",
        "model: {repo: x}\nengine: {}\nmodel: {repo: y}",
    ],
)
def test_text_that_is_not_one_yaml_document(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"here\.yaml is not YAML"):
        read_yaml(text, source="here.yaml")


@pytest.mark.parametrize("whole", [None, [], "miniature", 3, {}, {"model": None}, [{"name": "x"}]])
def test_document_that_is_no_profile(whole: Any) -> None:
    assert refusal(whole)


def test_yaml_that_grows_when_it_is_shown_stays_small() -> None:
    bomb = read_yaml(
        "a: &a [x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{name}: &{name} [{','.join([f'*{before}'] * 8)}]\n"
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        source="bomb",
    )
    message = refusal(document() | {"name": bomb["i"]})
    assert len(message) < 1000


# --- anything at all -------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63) - 1, 10**400]),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.binary(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, member in items for place in places(member, (*path, key)))]


PLACES = {name: [place for place in places(document(name)) if place] for name in SHIPPED}


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_change_gives_a_profile_or_misconfigured(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(SHIPPED))
    mutant = document(name)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(PLACES[name]))
        target = mutant
        try:
            for part in place[:-1]:
                target = target[part]
            match data.draw(st.sampled_from(["replace", "drop", "add"])):
                case "drop":
                    del target[place[-1]]
                case "replace":
                    target[place[-1]] = data.draw(VALUES)
                case "add":
                    target[place[-1]][data.draw(st.text(max_size=12))] = data.draw(VALUES)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away, or it holds no keys
    with contextlib.suppress(Misconfigured):
        profile = parse_profile(mutant, source="mutant")
        assert all(math.isfinite(gate.at_most) for gate in profile.gates if gate.at_most is not None)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>%@`'\"#,? \n\t0123456789.~\0\ud800é"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Misconfigured):
        read_yaml(text, source="text")
