"""Processes below a service, as Linux's /proc tells of them: who they are, whether they live, what they hold."""

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


def proportional_mb(pid: int) -> float:
    """The same with shared pages divided among those who share them. Raises OSError, also where it may not be read."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    if "Pss:" not in text:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(text.split("\nPss:")[1].split()[0]) / 1024
