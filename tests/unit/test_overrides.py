"""What one run does differently: few things, named well, and checked like the profile."""

from __future__ import annotations

import pytest

from slipway.cli.redeploy import parse_limit
from slipway.errors import Misconfigured
from slipway.profile import Limit, Overrides, load_profile, overridden, parse_overrides

PROFILE = load_profile("miniature")


def test_nothing_changes_nothing() -> None:
    assert overridden(PROFILE, Overrides()) is PROFILE


def test_each_override_reaches_its_place() -> None:
    changed = overridden(
        PROFILE,
        Overrides(
            revision="a" * 40,
            image="engine:1",
            limits=(Limit(gate="ttft_s.p50@chat", at_most=0.25),),
            max_cost_usd=12,
            max_run_s=77,
            strategy="in_place",
        ),
    )
    limits = {gate.gate_id: gate.at_most for gate in changed.gates}
    assert (changed.model.revision, changed.engine.image) == ("a" * 40, "engine:1")
    assert (changed.budget.max_cost_usd, changed.budget.max_run_s, changed.strategy) == (12, 77, "in_place")
    assert limits == {gate.gate_id: gate.at_most for gate in PROFILE.gates} | {"ttft_s.p50@chat": 0.25}


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit(gate="ttft.p50@chat", at_most=1), "Did you mean 'ttft_s.p50@chat'"),
        (Limit(gate="zzz", at_most=1), "There are config_drift"),
        (Limit(gate="ttft_s.p50@chat", worse_by=0.1), "exactly one of"),
        (Limit(gate="accuracy.share@arithmetic", at_least=2), "at most 1"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_in_words(limit: Limit, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        overridden(PROFILE, Overrides(limits=(limit,)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"revision": "main"}, "revision"),
        ({"max_run_s": 0}, "max_run_s"),
        ({"strategy": "beside"}, "'candidate' or 'in_place'"),
        ({"revison": "a" * 40}, "revison"),
        ({"limits": [{"gate": "x", "at_most": "fast"}]}, r"limits\.0\.at_most"),
    ],
)
def test_what_a_person_typed_is_refused_in_words(given: dict[str, object], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        parse_overrides(**given)


def test_limits_on_the_command_line() -> None:
    limits = [parse_limit("ttft_s.p50@chat:at_most=0.4")]
    assert parse_overrides(limits=limits).limits == (Limit(gate="ttft_s.p50@chat", at_most=0.4),)
    for wrong in ("ttft_s.p50@chat", "ttft_s.p50@chat:0.4", "ttft_s.p50@chat:below=0.4"):
        with pytest.raises(Misconfigured, match="GATE:at_most"):
            parse_limit(wrong)
