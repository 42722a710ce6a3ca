"""Releases: one switch, without a request lost, and every earlier version can be had back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from slipway.errors import Crashed, Misconfigured
from slipway.platforms.port import Phase
from tests.contract.conftest import APP, LONG_S, Place, wait_until


def ask(place: Place) -> str:
    """Who answers users."""
    answer = httpx.post(place.platform.live_url(APP) + "/generate", json={}, headers=place.headers(), timeout=LONG_S)
    return str(answer.json()["text"])


@contextmanager
def hammered(place: Place) -> Iterator[list[str]]:
    """While the block lasts, a client with kept connections asks the live address without a pause."""
    answers: list[str] = []
    done = threading.Event()

    def hammer() -> None:
        with httpx.Client(base_url=place.platform.live_url(APP), headers=place.headers(), timeout=LONG_S) as client:
            while not done.is_set():
                try:
                    answers.append(client.post("/generate", json={"padding": "x" * 10_000}).json()["text"])
                except (httpx.HTTPError, ValueError) as error:
                    answers.append(repr(error))

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        wait_until(lambda: answers)
        yield answers
    finally:
        done.set()
        thread.join(LONG_S)


def test_before_the_first_release_there_is_none(place: Place) -> None:
    assert place.platform.live(APP) is None
    assert list(place.platform.history(APP)) == []
    assert place.platform.live_url(APP) == place.open().live_url(APP)


def test_promote_switches_without_losing_a_request_and_keeps_history(place: Place) -> None:
    first = place.serve("r1")
    place.platform.promote(first)
    before = place.platform.live_url(APP)
    release = place.scratch / "release"
    slow = {"json": {"release": str(release)}, "headers": place.headers(), "timeout": LONG_S}
    with httpx.stream("POST", before + "/slow", **slow) as under_way, hammered(place) as answers:
        parts = under_way.iter_text()
        assert next(parts) == "first "
        second = place.serve("r2")
        place.platform.promote(second)
        switched = len(answers) + 1  # one request may have been under way
        assert ask(place) == "r2"
        stopping = threading.Thread(target=place.platform.stop, args=(first,))
        stopping.start()
        release.touch()
        assert "".join(parts) == "r1"
        stopping.join(LONG_S)
        assert place.platform.status(first).phase is Phase.STOPPED
    assert answers == sorted(answers)  # nothing but r1, then nothing but r2
    assert answers[0] == "r1"
    assert set(answers[switched:]) == {"r2"}
    assert place.platform.live_url(APP) == before
    assert [(known.version, known.release_id) for known in place.platform.history(APP)] == [(1, "r1"), (2, "r2")]
    assert place.platform.live(APP) == place.platform.history(APP)[1]
    assert [running.deployment_id for running in place.platform.deployments(APP)] == [second.deployment_id]


def test_what_is_not_ready_is_not_promoted(place: Place) -> None:
    live = place.platform.promote(place.serve("r1"))
    starting = place.deploy("r2", "--listen-when", str(place.scratch / "never"))
    with pytest.raises(Crashed, match="not ready"):
        place.platform.promote(starting)
    assert place.platform.live(APP) == live
    assert ask(place) == "r1"


def test_rolling_back_restarts_an_explicit_version_and_makes_a_new_one(place: Place) -> None:
    first = place.serve("r1")
    one = place.platform.promote(first)
    two = place.platform.promote(place.serve("r2"))
    place.platform.stop(first)
    place.platform = place.open()  # as another process would

    three = place.platform.roll_back(APP, 1, timeout_s=LONG_S)
    assert ask(place) == "r1"
    assert (three.version, three.release_id, three.rolled_back_to) == (3, "r1", 1)
    assert three.spec == one.spec

    four = place.platform.roll_back(APP, 2, timeout_s=LONG_S)  # still runs: nothing is started
    assert ask(place) == "r2"
    assert (four.version, four.deployment_id, four.rolled_back_to) == (4, two.deployment_id, 2)
    assert list(place.open().history(APP)) == [one, two, three, four]


def test_rolling_back_to_what_never_was_is_refused(place: Place) -> None:
    with pytest.raises(Misconfigured, match="no version 7"):
        place.platform.roll_back(APP, 7, timeout_s=LONG_S)
