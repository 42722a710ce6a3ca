"""Observe and judge the candidate."""

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from prefect import task

from slipway.platforms.port import Deployment
from slipway.records.pairs import answer_pairs
from slipway.records.report import gate_table
from slipway.stages import gating
from slipway.stages.run import Run
from tasks import artifacts
from tasks.policy import ONCE


@task(name="gates", **ONCE)
def run_gates(run: Run, candidate: Deployment) -> None:
    """Verdicts, from evidence that was stored first; raises `Rejected` if one blocks."""
    with ThreadPoolExecutor(1) as aside:
        aside.submit(import_module, "scipy.special")  # these take a while, which the job leaves
        plots = aside.submit(import_module, "slipway.records.plots")
        try:
            gating.run_gates(run, candidate)
        finally:
            if run.record.verdicts:
                artifacts.markdown("gates", gate_table(run.record), "Verdicts")
                _draw(plots.result(), run)


def _draw(plots: Any, run: Run) -> None:
    evidence = run.ledger.evidence(run.record)
    picture = plots.data_url(plots.latency_svg(run.profile, evidence.samples))
    artifacts.image("latency", picture, "TTFT and TPOT")
    if found := answer_pairs(run.profile, evidence):
        picture = plots.data_url(plots.pairs_svg(found))
        artifacts.image("accuracy-pairs", picture, "Answers, paired")
