"""What else is done to an app: roll it back, keep it warm, make room, take it down."""

from prefect import task

from slipway.platforms.port import Release
from slipway.profile import Profile
from slipway.stages import keep_warm as warming
from slipway.stages import release, revisions
from slipway.stages.keep_warm import Warmth
from slipway.stages.planning import weights_volume
from slipway.stages.surroundings import open_platform
from slipway.units import show_bytes
from tasks import artifacts
from tasks.policy import ONCE, RETRIED


@task(name="roll back", **ONCE)
def roll_back(profile: Profile, version: int) -> Release:
    """Serve an explicit earlier version again."""
    platform, timeout_s = open_platform(profile.platform), profile.scaling.startup_timeout_s
    return release.roll_back(platform, profile.app, version, timeout_s=timeout_s)


@task(name="keep warm", **RETRIED)
def keep_warm(profile: Profile) -> Warmth:
    """Ask for one short answer."""
    return warming.keep_warm(open_platform(profile.platform), profile)


@task(name="prune", **ONCE)
def prune(profile: Profile, keep: int, *, dry_run: bool) -> str:
    """Remove old weights, or say which would be; what was done, in words."""
    platform = open_platform(profile.platform)
    if dry_run:
        there = revisions.revisions(platform.volume(weights_volume(profile)))
        gone = revisions.to_prune(there, keep=keep, needed=revisions.needed(platform, profile))
    else:
        gone = revisions.prune(platform, profile, keep=keep)
    rows = [{"commit": revision.commit, "size": show_bytes(revision.size_bytes)} for revision in gone]
    done = "would be removed" if dry_run else "removed"
    said = f"{len(gone)} revision(s), {show_bytes(sum(r.size_bytes for r in gone))}, {done}"
    artifacts.table("prune", rows, said)
    return said


@task(name="stop", **ONCE)
def stop(profile: Profile) -> list[str]:
    """End everything that serves the app; the servers that were ended."""
    return release.stop_app(open_platform(profile.platform), profile.app)
