"""The capacity plan and the plan's other tables, as rows that the report and the command line both show."""

from __future__ import annotations

from slipway.preflight.capacity import Capacity
from slipway.preflight.plan import Finding, Plan, Step
from slipway.units import GIB, show_bytes, show_seconds, show_usd

STEP_COLUMNS = ("stage", "", "why", "bytes", "lasts", "cost")
MEMORY_COLUMNS = ("each GPU", "GiB", "share")
FIT_COLUMNS = ("tokens of a request", "pool holds", "one replica runs", "all replicas", "limited by", "TTFT alone from")
LIMIT_COLUMNS = ("workload", "streams", "TPOT: physics allows", "likely", "with accept length")
CHANGE_COLUMNS = ("changes", "live", "planned")
FINDING_COLUMNS = ("severity", "rule", "finding", "remedy")

Rows = list[tuple[str, ...]]


def step_row(step: Step) -> tuple[str, ...]:
    """One step of a plan."""
    size = show_bytes(step.size_bytes) if step.size_bytes else ""
    lasts = show_span(step.lasts_least_s, step.lasts_most_s) + (" on GPUs" if step.most_s else "")
    cost = show_range(step.cost_least_usd, step.cost_usd)
    return step.stage, "run" if step.runs else "skip", step.why, size, lasts, cost


def show_span(least_s: float, most_s: float) -> str:
    """`5m27s to 19m38s`; nothing where nothing is known."""
    return f"{show_seconds(least_s)} to {show_seconds(most_s)}" if most_s else ""


def show_range(least_usd: float, most_usd: float) -> str:
    """`$4.55 to $16.36`; one figure where both are shown alike."""
    ends = dict.fromkeys((show_usd(least_usd), show_usd(most_usd)))
    return " to ".join(ends)


def memory_rows(capacity: Capacity) -> Rows:
    """One GPU's memory by `MEMORY_COLUMNS`."""
    total = sum(share.size_bytes for share in capacity.memory)
    return [
        (share.name, f"{share.size_bytes / GIB:.1f}", f"{100 * share.size_bytes / total:.1f} %")
        for share in capacity.memory
    ]


def capacity_facts(capacity: Capacity) -> str:
    """What the pool means for requests, in a sentence."""
    return (
        f"The KV pool of each {capacity.gpu} has {capacity.pool_tokens:,} tokens of {capacity.token_bytes:,} bytes; "
        f"the longest request is {capacity.longest_request_tokens:,} tokens, the longest prompt "
        f"{capacity.longest_input_tokens:,}, of {capacity.context_tokens:,} that are advertised."
    )


def ttft_facts(capacity: Capacity) -> str:
    """From which concurrency on TTFT must rise, in a sentence: for the shortest and the longest request that fits."""
    fits = [fit for fit in capacity.fits if fit.replica]
    if not fits:
        return "No request of these lengths can be served."
    rises = [
        f"from {fit.replica + 1} streams a replica on with requests of {fit.request_tokens:,} tokens"
        for fit in dict.fromkeys((fits[0], fits[-1]))
    ]
    return (
        f"TTFT must rise {', '.join(rises)}: one of them then waits for a slot. "
        "Prompts that arrive together wait for one another before that."
    )


def fit_rows(capacity: Capacity) -> Rows:
    """Requests at once by `FIT_COLUMNS`; the last is the limit of a prompt that long."""
    return [
        (
            f"{fit.request_tokens:,}",
            f"{fit.pool:,}",
            str(fit.replica),
            str(fit.all_replicas),
            fit.limit,
            show_seconds(capacity.prefill_s[fit.request_tokens]),
        )
        for fit in capacity.fits
    ]


def limit_rows(capacity: Capacity) -> Rows:
    """Limits of TPOT by `LIMIT_COLUMNS`."""
    return [
        (
            limit.workload,
            str(limit.streams),
            f"{1000 * limit.tpot_s:.2f} ms",
            " to ".join(f"{1000 * end:.0f}" for end in limit.likely_tpot_s) + " ms",
            f"{limit.accept_length:g}",
        )
        for limit in capacity.limits
    ]


def change_rows(plan: Plan) -> Rows:
    """What differs from the live release, by `CHANGE_COLUMNS`."""
    return [(change.field, change.live, change.planned) for change in plan.changes]


def finding_row(finding: Finding) -> tuple[str, ...]:
    """One finding by `FINDING_COLUMNS`, with the waiver that covers it."""
    return severity_word(finding), finding.rule, finding.message, waived(finding) or finding.remedy


def severity_word(finding: Finding) -> str:
    """The severity, or that it was waived."""
    return "waived" if finding.waiver else finding.severity.value


def waived(finding: Finding) -> str:
    """Why a finding is accepted and until when; empty where it is not."""
    waiver = finding.waiver
    return f"Accepted until {waiver.expires}: {waiver.reason}" if waiver else ""


def times_the_limit(
    capacity: Capacity | None, workload: str, tpot_s: float, accept_length: float | None
) -> float | None:
    """A measured TPOT as a multiple of what physics allows at the accept length that was measured with it."""
    limit = next((each for each in capacity.limits if each.workload == workload), None) if capacity else None
    if limit is None:
        return None
    step_s = limit.tpot_s * limit.accept_length
    return tpot_s * (accept_length or limit.accept_length) / step_s
