"""What is looked at before a release, and what to do about each thing that is not as it should be.

Nothing is changed by looking; volumes that a run would make may be made, empty.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from slipway.errors import Busy, SlipwayError
from slipway.measure import compiled
from slipway.measure.datasets import DATASETS_VOLUME
from slipway.platforms.check import Check, Health, Needs
from slipway.platforms.port import Phase, Platform
from slipway.preflight.findings import examine
from slipway.preflight.plan import errors_among
from slipway.profile import Profile, load_profile
from slipway.profile.load import profile_path
from slipway.profile.lock import lock_path, needs_lock, read_lock
from slipway.records.ledger import LEDGER_VOLUME, Ledger
from slipway.stages.planning import kernel_volume, weights_volume
from slipway.stages.remains import look_for_remains
from slipway.stages.run import deployment_of
from slipway.stages.surroundings import hub_endpoint, open_platform
from slipway.units import show_bytes
from slipway.weights.hub import fetch_manifest
from slipway.weights.manifest import Manifest
from slipway.weights.ready import missing
from slipway.weights.room import MARGIN

FIX = "Run this again with `--fix`; the next release does the same."


def examine_all(name_or_path: str) -> Iterator[Check]:
    """Look at everything that a release of a profile needs, one after the other; it goes on after what failed.

    Args:
        name_or_path: The profile.
    """
    try:
        profile = load_profile(name_or_path)
    except SlipwayError as error:
        yield _failed("profile", error)
        return
    yield Check("profile", Health.OK, f"{profile.name} is what a profile must be")
    yield _lock(profile, name_or_path)
    yield _preflight(profile)
    yield _measuring_client()
    yield from _platform(profile)


def _failed(name: str, error: SlipwayError) -> Check:
    return Check(name, Health.FAILED, error.message, error.remedy)


def _lock(profile: Profile, name_or_path: str) -> Check:
    """Whether what is released can move; a lock that does not agree has kept the profile from loading."""
    path = profile_path(name_or_path)
    if needs_lock(profile):
        health = Health.FAILED if profile.platform == "modal" else Health.WARNING
        seen = "image or weights may be others at the next release"
        return Check("lock", health, seen, f"Run `slipway resolve {name_or_path}` and commit {lock_path(path).name}.")
    lock = read_lock(path)
    seen = f"resolved at {lock.resolved_at:%Y-%m-%d %H:%M} UTC" if lock else "nothing in the profile can move"
    return Check("lock", Health.OK, seen)


def _preflight(profile: Profile) -> Check:
    findings = examine(profile)
    errors = [finding.rule for finding in errors_among(findings)]
    if errors:
        remedy = f"`slipway preflight {profile.name}` says what to do; `slipway explain {errors[0]}` why."
        return Check("preflight", Health.FAILED, f"no release because of {', '.join(errors)}", remedy)
    return Check("preflight", Health.OK, f"{len(findings)} findings, none keeps it from being released")


def _measuring_client() -> Check:
    if compiled.load(compiled.LIBRARY) is not None:
        return Check("measuring client", Health.OK, "waits and reads in C")
    seen = "waits and reads in Python, with the same figures for half as much processor time again"
    return Check("measuring client", Health.WARNING, seen, "Install a C compiler, then Slipway again (`make setup`).")


def _platform(profile: Profile) -> Iterator[Check]:
    """The platform, what is there of the app, and the Hub that weights come from."""
    try:
        platform = open_platform(profile.platform)
    except SlipwayError as error:
        yield _failed(f"platform {profile.platform}", error)
        yield from _hub(profile, None)
        return
    yield from _guarded(f"platform {profile.platform}", lambda: platform.diagnose(_needs(profile)))
    yield from _guarded("ledger", lambda: _ledger(platform, profile.app))
    yield from _guarded("runs", lambda: _runs(platform, profile.app))
    yield from _guarded("live release", lambda: _live(platform, profile.app))
    yield from _hub(profile, platform)


def _needs(profile: Profile) -> Needs:
    replicas = 1 if profile.strategy == "in_place" else 2
    return Needs(
        volumes=(weights_volume(profile), kernel_volume(profile), LEDGER_VOLUME, DATASETS_VOLUME),
        secrets=tuple(filter(None, (profile.api_key_secret, profile.model.token_secret))),
        gpus=profile.hardware.gpu_count * replicas,
    )


def _guarded(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """What a look finds; that it cannot look is found too."""
    try:
        yield from look()
    except SlipwayError as error:
        yield _failed(name, error)


def _ledger(platform: Platform, app: str) -> Iterator[Check]:
    records = Ledger(platform).records(app)
    yield Check("ledger", Health.OK, f"{len(records)} records of {app}, all can be read")


def _runs(platform: Platform, app: str) -> Iterator[Check]:
    """Whether a run is under way; and if none is, what dead ones left."""
    try:
        with platform.exclusive(app):
            left = look_for_remains(platform, app)
    except Busy as busy:
        yield Check("runs", Health.OK, busy.message)
        return
    yield Check("runs", Health.OK, "none is under way")
    servers = ", ".join(deployment.deployment_id for deployment in left.orphans)
    if servers:
        yield Check("orphans", Health.FAILED, f"servers run that nobody uses, and cost money: {servers}", FIX)
    else:
        yield Check("orphans", Health.OK, "no server runs that is not live")
    if left.unfinished:
        seen = f"their process died: {', '.join(left.unfinished)}"
        yield Check("records", Health.WARNING, seen, FIX)
    else:
        yield Check("records", Health.OK, "every run was closed")


def _live(platform: Platform, app: str) -> Iterator[Check]:
    live = platform.live(app)
    if live is None:
        yield Check("live release", Health.OK, f"nothing serves {app}")
        return
    status = platform.status(deployment_of(live))
    if status.phase is Phase.READY:
        yield Check("live release", Health.OK, f"version {live.version} serves at {platform.live_url(app)}")
        return
    remedy = f"Run `slipway rollback {app} {live.version}` to start it again, or release anew."
    yield Check("live release", Health.FAILED, f"version {live.version} is {status.phase}: {status.detail}", remedy)


def _hub(profile: Profile, platform: Platform | None) -> Iterator[Check]:
    """Whether the Hub has the weights for us, and the volume room for them."""
    model = profile.model
    token = os.environ.get(model.token_secret) if model.token_secret else None
    try:
        with hub_endpoint(profile) as hub:
            manifest = fetch_manifest(model.repo, model.revision, endpoint=hub, token=token, allow_floating=True)
    except SlipwayError as error:
        yield _failed("Hub", error)
        return
    seen = f"{model.repo} at {manifest.commit[:12]}, {show_bytes(manifest.total_bytes)} in {len(manifest.files)} files"
    yield Check("Hub", Health.OK, seen)
    if platform is not None:
        there = platform
        yield from _guarded("room", lambda: _room(there, profile, manifest))


def _room(platform: Platform, profile: Profile, manifest: Manifest) -> Iterator[Check]:
    volume = platform.volume(weights_volume(profile))
    needed_bytes = int(sum(file.size_bytes for file in missing(volume, manifest)) * MARGIN)
    free_bytes = volume.free_bytes()
    if free_bytes is None:
        yield Check("room", Health.OK, f"{show_bytes(needed_bytes)} are to come; the platform tells no limit")
    elif needed_bytes > free_bytes:
        seen = f"{show_bytes(needed_bytes)} are to come, {show_bytes(free_bytes)} are free"
        yield Check("room", Health.FAILED, seen, f"`slipway weights prune {profile.name}` removes old revisions.")
    else:
        yield Check("room", Health.OK, f"{show_bytes(needed_bytes)} are to come, {show_bytes(free_bytes)} are free")
