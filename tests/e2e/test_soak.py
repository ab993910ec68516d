"""The test bench's short setting: every promise that does not depend on how fast this machine is."""

import asyncio
import sys

import pytest

from benchmarks.soak.bench import SHORT
from benchmarks.soak.phases import PHASES
from benchmarks.soak.run import broken, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.timeout(600)  # a minute or two where the machine is not busy otherwise
def test_promises_under_load_faults_and_hostile_callers():
    found = asyncio.run(run(SHORT, list(PHASES), seed=0, say=print))
    assert {findings.phase for findings in found} == set(PHASES)
    assert broken(found, timed=False) == []
