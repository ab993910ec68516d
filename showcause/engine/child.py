"""Becomes the program that its arguments name, and ends when its parent does: no orphan holds memory or a GPU.

    python -I -S child.py PARENT PROGRAM ARGUMENTS...

A program of its own and not a step between fork and exec: the gateway has threads by the time it starts an engine anew,
and after a fork only the thread that forked goes on, whatever locks the others held.
"""

import ctypes
import os
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it could be watched
        sys.exit(1)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
