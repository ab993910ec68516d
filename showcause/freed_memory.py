"""What becomes of memory that a batch has freed: the next batch gets it, and the system once a while has passed.

glibc gives large blocks back at once, and zeroes new ones page by page; for a network that is a tenth of its time. What
it keeps it never gives back by itself. Elsewhere than on Linux with glibc nothing is done. Imports nothing.
"""

import ctypes
import sys
import threading

GIVE_BACK_SECONDS = 10.0
# Of mallopt: from which size on blocks come from the system, and how much may lie free at the heap's end.
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
LARGEST = 1 << 30


class FreedMemory:
    """Of this process. ``used`` is called when something was freed."""

    def __init__(self) -> None:
        self._used = threading.Event()
        if sys.platform != "linux":
            return
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim"):
            libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
            libc.mallopt(M_TRIM_THRESHOLD, LARGEST)
            threading.Thread(target=self._give_back, args=(libc,), daemon=True).start()

    def used(self) -> None:
        self._used.set()

    def _give_back(self, libc: ctypes.CDLL) -> None:
        pause = threading.Event()
        while True:
            self._used.wait()
            pause.wait(GIVE_BACK_SECONDS)
            self._used.clear()
            libc.malloc_trim(0)
