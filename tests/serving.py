"""``showcause serve`` as a user starts it, on free ports of 127.0.0.1: for the tests and for the test bench."""

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field

START_SECONDS = 120
LINE = re.compile(
    r'serving gRPC on (\S+), REST on (https?://\S+), metrics on (https?://\S+)/metrics, admin on ([^\s"]+)'
)


@dataclass
class Running:
    """One service process, its addresses, and what it has printed."""

    process: subprocess.Popen
    grpc: str = ""
    rest: str = ""
    metrics: str = ""
    admin: str = ""
    lines: list[str] = field(default_factory=list)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


def start(*arguments: str, program: tuple[str, ...] = (sys.executable, "-m", "showcause.cli"), **environment: str):
    """Starts ``showcause serve`` and waits until it serves or ends."""
    ports = ("--grpc-port", "0", "--rest-port", "0", "--metrics-port", "0", "--admin-port", "0")
    process = subprocess.Popen(
        [*program, "serve", *ports, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",  # what hostile clients send gets into gRPC's own messages
        env=os.environ | environment,
    )
    running, serving = Running(process), threading.Event()

    def read() -> None:
        with process.stdout as lines:
            for line in lines:
                running.lines.append(line.rstrip())
                if match := LINE.search(line):
                    running.grpc, running.rest, running.metrics, running.admin = match.groups()
                    serving.set()
        serving.set()

    threading.Thread(target=read, daemon=True).start()
    assert serving.wait(START_SECONDS), running.output
    return running
