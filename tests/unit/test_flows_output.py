"""A run whose output nobody reads any more goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

RUN = """
import logging, sys
from flows.output import outlive_readers
from prefect.logging.configuration import setup_logging
setup_logging()
if sys.argv[1] == "outlive":
    outlive_readers()
sys.stdin.readline()
for _ in range(2):
    logging.getLogger().error("is anybody there?")
print("nobody", file=sys.stderr)
"""


def ended(how: str) -> int:
    """Exit status of a process that logs after its reader has gone."""
    command = [sys.executable, "-c", RUN, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        return process.wait(60)


def test_a_run_outlives_whoever_reads_its_output() -> None:
    assert ended("outlive") == 0


def test_without_that_it_would_not() -> None:
    assert ended("as it is") != 0
