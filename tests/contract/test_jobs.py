"""Jobs: results and errors come back whole, and nothing of a job outlives it."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from slipway.errors import Corrupt, JobDied, Misconfigured, Transient
from slipway.platforms.port import Job, Progress
from tests.contract.conftest import JOBS, LONG_S, PYTHON, Place, make_job, open_platform, wait_until


def ignore(_: Progress) -> None:
    pass


def wait_until_gone(pids: list[int]) -> None:
    """Fail when one of the processes still runs in the end."""
    wait_until(lambda: not any(runs(pid) for pid in pids))


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_arguments_and_environment_are_expanded_and_the_result_comes_back(place: Place) -> None:
    job = Job(
        name="echo",
        function=f"{JOBS}:echo",
        arguments={"text": "${data}/x", "list": ["${data}", 1, None], "tree": {"a": "${data}"}},
        mounts=make_job(place, "echo").mounts,
        env={"WHERE": "${data}/y"},
    )
    result = place.platform.start_job(job).wait(timeout_s=LONG_S, progress=ignore)
    data = result["env"]["WHERE"].removesuffix("/y")
    assert Path(data).is_absolute()
    assert result["arguments"] == {"text": f"{data}/x", "list": [data, 1, None], "tree": {"a": data}}


def test_a_job_does_not_see_the_users_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_OF_THE_USER", "x")
    assert "SOMETHING_OF_THE_USER" not in place.job("echo")["env"]


def test_an_unknown_placeholder_is_the_callers_mistake(place: Place) -> None:
    with pytest.raises(Misconfigured, match="nowhere"):
        place.job("echo", path="${nowhere}/x")


@pytest.mark.parametrize("function", ["no_module_of_this_name:f", f"{JOBS}:no_such_function", "nonsense"])
def test_a_function_that_is_not_there_is_the_callers_mistake(place: Place, function: str) -> None:
    with pytest.raises(Misconfigured, match=function.split(":", maxsplit=1)[0]):
        place.platform.start_job(Job("x", function, {})).wait(timeout_s=LONG_S, progress=ignore)


def test_an_error_of_slipway_comes_back_with_its_type_and_remedy(place: Place) -> None:
    with pytest.raises(Corrupt, match="Shard 3 differs") as caught:
        place.job("fail", how="corrupt")
    assert caught.value.remedy == "Fetch it again."


@pytest.mark.parametrize(
    ("how", "told"), [("value", "ValueError: what is this"), ("killed", "without a result"), ("no JSON", "TypeError")]
)
def test_any_other_end_is_a_died_job(place: Place, how: str, told: str) -> None:
    job = place.platform.start_job(make_job(place, "fail", how=how))
    with pytest.raises(JobDied, match=told):
        job.wait(timeout_s=LONG_S, progress=ignore)
    assert how == "killed" or "Traceback" in job.logs()


def test_progress_arrives_in_order(place: Place) -> None:
    seen: list[Progress] = []
    job = place.platform.start_job(make_job(place, "count", total=3))
    assert job.wait(timeout_s=LONG_S, progress=seen.append) == 3
    assert seen == [Progress(done, 3, "files", f"file {done}") for done in (1, 2, 3)]


def test_output_is_kept_without_secrets(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_API_KEY", "hush-9831-hush")
    job = place.platform.start_job(Job("print", f"{JOBS}:print_secret", {}, secrets=("TEST_API_KEY",)))
    assert job.wait(timeout_s=LONG_S, progress=ignore) == "printed"
    assert "the key is [redacted]" in job.logs()
    assert "from a child: [redacted]" in job.logs()
    assert not place.files_with(b"hush-9831")


def stubborn(place: Place) -> tuple[Job, Path]:
    pids = place.scratch / "pids"
    return make_job(place, "start_stubborn_child", pids=str(pids)), pids


def pids_in(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()]


def test_a_missed_deadline_ends_the_job_and_all_its_children(place: Place) -> None:
    description, pids = stubborn(place)
    job = place.platform.start_job(description)
    wait_until(lambda: pids.exists() and len(pids_in(pids)) == 3)
    with pytest.raises(Transient, match="did not finish") as caught:
        job.wait(timeout_s=0, progress=ignore)
    assert not isinstance(caught.value, JobDied)
    wait_until_gone(pids_in(pids))


def test_cancel_from_another_thread_ends_the_job_and_all_its_children(place: Place) -> None:
    description, pids = stubborn(place)
    job = place.platform.start_job(description)
    cancelling = threading.Thread(target=job.cancel)
    with pytest.raises(JobDied):
        job.wait(timeout_s=LONG_S, progress=lambda _: cancelling.start())
    cancelling.join(LONG_S)
    wait_until_gone(pids_in(pids))
    job.cancel()


def test_an_interrupt_while_waiting_ends_the_job(place: Place) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    description, pids = stubborn(place)
    with pytest.raises(KeyboardInterrupt):
        place.platform.start_job(description).wait(timeout_s=LONG_S, progress=interrupt)
    wait_until_gone(pids_in(pids))


def test_cancel_after_the_end_is_harmless(place: Place) -> None:
    job = place.platform.start_job(make_job(place, "count", total=1))
    job.wait(timeout_s=LONG_S, progress=ignore)
    job.cancel()
    assert job.wait(timeout_s=LONG_S, progress=ignore) == 1


def test_what_a_finished_job_left_running_is_ended(place: Place) -> None:
    wait_until_gone([place.job("leave_child")])


def test_a_job_ends_when_the_process_that_started_it_is_killed(place: Place) -> None:
    if place.platform.kind == "modal":
        pytest.skip("there a job goes on, and the next start of the same work picks it up")
    pids = place.scratch / "pids"
    source = f"""{open_platform(*place.opener)}
from slipway.platforms.port import Job
platform.start_job(Job("x", "{JOBS}:start_stubborn_child", {{"pids": {str(pids)!r}}})).wait(
    timeout_s=60, progress=lambda _: print("started", flush=True))
"""
    parent = subprocess.Popen([PYTHON, "-c", source], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert parent.stdout.readline() == b"started\n"
    worker, child, apart = pids_in(pids)
    parent.kill()
    parent.communicate()
    wait_until_gone([worker, child])
    psutil.Process(apart).kill()  # it left the job's group and session; only an orderly end finds such
