"""Freed memory is kept for the next batch, and given back when a while has passed."""

import subprocess
import sys

import pytest

SCRIPT = """
import time
import numpy as np
from showcause import freed_memory

freed_memory.GIVE_BACK_SECONDS = 0.2

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

memory = freed_memory.FreedMemory()
before = resident_mb()
batch = [np.ones(2**20) for _ in range(32)]  # 256 MB
del batch
kept = resident_mb()
memory.used()
time.sleep(2)
print(kept - before, resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_it_is_kept_for_a_while():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    kept, left = map(float, done.stdout.split())
    assert kept > 200
    assert left < 60
