"""What one run does differently from its profile: few things, each checked like the profile itself."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from slipway.errors import Misconfigured
from slipway.profile.conduct import Strategy
from slipway.profile.load import parse_profile
from slipway.profile.models import Profile
from slipway.profile.spec import Spec


class Limit(Spec):
    """Another limit for one gate; it needs what the gate has, as `docs/gates.md` lists it."""

    gate: str = Field(title="Gate", description="Its id, as reports show it: `ttft_s.p50@chat`.", max_length=200)
    at_most: float | None = Field(None, title="At most", ge=0, le=1e9, description="In the metric's unit.")
    at_least: float | None = Field(None, title="At least", ge=0, le=1e9, description="In the metric's unit.")
    worse_by: float | None = Field(
        None, title="Worse by", gt=0, le=10, description="Than the baseline, as a share of it: 0.05 is 5 %."
    )


class Overrides(Spec):
    """What this run does differently. Empty fields leave the profile as it is."""

    model_config = ConfigDict(title="Overrides")

    revision: str | None = Field(
        None,
        title="Revision",
        description="Commit of the weights to release instead: 40 hexadecimal digits.",
        pattern=r"^[0-9a-f]{40}$",
    )
    image: str | None = Field(
        None,
        title="Image",
        description="Container image of the engine to use instead: `name:tag`, better `name:tag@sha256:…`.",
        pattern=r"^\S+$",
        max_length=500,
    )
    limits: tuple[Limit, ...] = Field(
        (), title="Limits", description="Other limits for gates that the profile has.", max_length=100
    )
    max_cost_usd: float | None = Field(
        None, title="Budget in US dollars", ge=0, le=10_000, description="For the whole run; 0: not limited."
    )
    max_run_s: float | None = Field(
        None, title="Deadline in seconds", gt=0, le=24 * 3600, description="Of the whole run."
    )
    strategy: Strategy | None = Field(
        None,
        title="Strategy",
        description="`candidate`: beside the live release. `in_place`: the live release is stopped first, for where "
        "there are GPUs for one only; users wait, and it is started again if the run fails.",
    )


def parse_overrides(**given: Any) -> Overrides:
    """Overrides from what a person typed.

    Raises:
        Misconfigured: Naming each field that is wrong.
    """
    try:
        return Overrides.model_validate(given)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
        raise Misconfigured(f"What this run shall do differently is wrong: {wrong}.", remedy="Correct it.") from None


def overridden(profile: Profile, overrides: Overrides) -> Profile:
    """The profile as one run uses it.

    Raises:
        Misconfigured: If a gate is named that the profile does not have, or the result breaks a rule.
    """
    if overrides == Overrides():
        return profile
    document = profile.model_dump(mode="json")
    places = {
        ("model", "revision"): overrides.revision,
        ("engine", "image"): overrides.image,
        ("budget", "max_cost_usd"): overrides.max_cost_usd,
        ("budget", "max_run_s"): overrides.max_run_s,
    }
    for (section, name), value in places.items():
        if value is not None:
            document[section][name] = value
    if overrides.strategy is not None:
        document["strategy"] = overrides.strategy
    ids = [gate.gate_id for gate in profile.gates]
    for limit in overrides.limits:
        given = limit.model_dump(exclude={"gate"}, exclude_none=True)
        document["gates"][_position(limit.gate, ids)].update(given)
    return parse_profile(document, source=f"profile {profile.name} with this run's overrides")


def _position(gate: str, ids: list[str]) -> int:
    if gate in ids:
        return ids.index(gate)
    near = difflib.get_close_matches(gate, ids, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(ids)}."
    raise Misconfigured(f"The profile has no gate {gate!r}, so its limit cannot be changed.", remedy=hint)
