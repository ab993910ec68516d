"""How many cores there are to compute with. Imports nothing."""

import os
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU time, and of the period: Linux' control groups, v2
FEW = 4  # threads that a layer of such networks can share well


def cores(quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: of those that it may run on, no more than its container's limit is worth."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = quota.read_text().split()
        return min(count, max(1, round(int(limit) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return count


def threads_of_each(workers: int, count: int | None = None) -> int:
    """Threads for each of so many workers: its share of the cores, and a few where the share is less.

    Seldom are all of them busy, and where they are, threads that do not spin hardly get in each other's way: on two
    cores with three models, two threads each are faster than one, for one model (60 to 70%) and for all (10 to 40%).
    """
    count = cores() if count is None else count
    return max(1, count // max(1, workers), min(count, FEW))
