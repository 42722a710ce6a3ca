"""The profile: what to serve, on what, and under which limits."""

from slipway.profile.gates import Gate
from slipway.profile.load import load_profile, profile_names
from slipway.profile.metrics import METRICS, Level, Metric, Statistic
from slipway.profile.models import EngineSpec, ModelSpec, Profile, Scaling, Speculation
from slipway.profile.overrides import Limit, Overrides, overridden, parse_overrides
from slipway.profile.waivers import Expected, Waiver
from slipway.profile.workloads import Warmup, Workload

__all__ = [
    "METRICS",
    "EngineSpec",
    "Expected",
    "Gate",
    "Level",
    "Limit",
    "Metric",
    "ModelSpec",
    "Overrides",
    "Profile",
    "Scaling",
    "Speculation",
    "Statistic",
    "Waiver",
    "Warmup",
    "Workload",
    "load_profile",
    "overridden",
    "parse_overrides",
    "profile_names",
]
