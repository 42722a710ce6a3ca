"""Look at what serves: by the gates, and by asking it for a while."""

from prefect import task

from slipway.profile import Profile
from slipway.records.check import CheckRecord
from slipway.records.report import verdict_table
from slipway.stages import check as checks
from slipway.stages import watch as watches
from slipway.stages.surroundings import open_platform
from tasks import artifacts
from tasks.policy import ONCE
from tasks.progress import ProgressBar


@task(name="gates against live", **ONCE)
def gate_live(profile: Profile) -> CheckRecord:
    """Verdicts on what serves; nothing is released."""
    from slipway.records.plots import data_url, latency_svg  # noqa: PLC0415 - matplotlib takes a second, and only here

    bar = ProgressBar("gate-live-progress")
    check, evidence = checks.gate_live(open_platform(profile.platform, profile), profile, progress=bar.show)
    artifacts.markdown("gate-live", f"{check.reason}\n\n{verdict_table(check.verdicts)}", check.release_id)
    picture = data_url(latency_svg(profile, evidence.samples))
    artifacts.image("latency-live", picture, "TTFT and TPOT of what serves")
    return check


@task(name="watch", **ONCE)
def watch(profile: Profile) -> CheckRecord:
    """Ask what serves for a while; the release before serves again if it goes wrong."""
    bar = ProgressBar("watch-progress")
    check = watches.watch(open_platform(profile.platform, profile), profile, progress=bar.show)
    text = (
        f"**{check.condition.value.replace('_', ' ')}**: {check.reason}\n\n"
        f"Version {check.version} ({check.release_id}): {check.failed} of {check.requests} requests failed."
    )
    artifacts.markdown("watch", text, check.reason[:200])
    return check
