"""The flow's final state, and the server that must not outlive its client."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from slipway.profile import load_profile
from slipway.records.record import Outcome, ReleaseRecord
from slipway.units import utc_now
from tests.support.world import wait_until

CLIENT = """
import sys, time
from pathlib import Path
from flows.server import start_prefect_server
server = start_prefect_server(Path(sys.argv[1]))
print(server.process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("outcome", "name", "kind"),
    [
        (Outcome.PROMOTED, "Promoted", "COMPLETED"),
        (Outcome.PREPARED, "Prepared", "COMPLETED"),
        (Outcome.REJECTED, "Rejected", "FAILED"),
        (Outcome.ROLLED_BACK, "RolledBack", "FAILED"),
    ],
)
def test_the_outcome_is_the_final_state(outcome: Outcome, name: str, kind: str) -> None:
    from flows.states import of_release

    record = ReleaseRecord(
        release_id="a.1",
        app="a",
        started_at=utc_now(),
        profile=load_profile("miniature").model_dump(mode="json"),
        outcome=outcome,
        reason="so it went",
    )
    state = of_release(record)
    assert (state.name, state.type.value, state.message) == (name, kind, "so it went")


def test_only_transient_errors_are_retried() -> None:
    from prefect.states import Failed, exception_to_failed_state

    from slipway.errors import Corrupt, JobDied, Transient
    from tasks.policy import is_transient

    def retried(error: BaseException) -> bool:
        return is_transient(None, None, asyncio.run(exception_to_failed_state(error)))

    assert retried(Transient("a", remedy="b"))
    assert retried(JobDied("a", remedy="b"))
    assert not retried(Corrupt("a", remedy="b"))
    assert not retried(ValueError("a"))
    assert not is_transient(None, None, Failed())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_with_its_client(tmp_path: Path, how: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        server = psutil.Process(int(client.stdout.readline()))
        assert server.is_running()
        client.send_signal(how)
        client.wait(30)
    wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "the server's end")
