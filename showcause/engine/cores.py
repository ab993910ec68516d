"""How many cores there are to compute with. Imports nothing."""

import os
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU time, and of the period: Linux' control groups, v2


def cores(quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: of those that it may run on, no more than its container's limit is worth."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = quota.read_text().split()
        return min(count, max(1, round(int(limit) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return count
