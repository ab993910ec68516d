"""Processes below a service, by Linux's /proc: who they are, whether they live, what they hold and use."""

import os
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """Process ids below ``pid``, each before those below it."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        below.setdefault(parent, []).append(int(path.parent.name))
    found, pending = [], [pid]
    while pending:
        own = below.get(pending.pop(0), [])
        found += own
        pending += own
    return found


def roles(gateway: int) -> dict[int, str]:
    """The gateway, its JVMs and its workers, each by its process id; one that ends meanwhile is left out."""
    found = {gateway: "gateway"}
    for pid in children(gateway):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"model_service_worker" in command:
            found[pid] = "worker"
        elif b"ModelServer" in command:
            found[pid] = "jvm"
    return found


def family(gateway: int) -> dict[str, int]:
    """Process ids by role, of a service that has one worker."""
    return {role: pid for pid, role in roles(gateway).items()}


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def wait_for_end(pids: list[int], seconds: float = 10) -> list[int]:
    """Those that still live after that time at the latest."""
    deadline = time.monotonic() + seconds
    while (left := alive(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def resident_mb(pid: int) -> float:
    """Raises OSError for a process that is gone."""
    text = Path(f"/proc/{pid}/status").read_text()
    if "VmRSS:" not in text:
        raise ProcessLookupError(f"process {pid} has ended")  # a zombie: nobody has asked for its code yet
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of all its threads so far. Raises OSError for a process that is gone."""
    return cpu_seconds_of(Path(f"/proc/{pid}/stat").read_text(), os.sysconf("SC_CLK_TCK"))


def cpu_seconds_of(stat: str, ticks_a_second: int) -> float:
    """Of a line of /proc/PID/stat: utime and stime, fields 14 and 15; the name before them may hold anything."""
    fields = stat.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / ticks_a_second


def busy_seconds() -> float:
    """CPU time of everything on this machine so far, with what a hypervisor gave to others."""
    return busy_seconds_of(Path("/proc/stat").read_text(), os.sysconf("SC_CLK_TCK"))


def busy_seconds_of(stat: str, ticks_a_second: int) -> float:
    """Of the first line of /proc/stat: user, nice, system, (idle, iowait), irq, softirq, steal. Guests are in user."""
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.split(None, 9)[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks_a_second


def proportional_mb(pid: int) -> float:
    """The same with shared pages divided among those who share them. Raises OSError, also where it may not be read."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    if "Pss:" not in text:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(text.split("\nPss:")[1].split()[0]) / 1024
