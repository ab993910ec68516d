"""How many requests are being read at once, and how many bytes they may be: a bound on what slow uploads hold.

Imports no torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from showcause.errors import ResourceExhausted


class Uploads:
    """most_count, most_bytes: of the requests that have not arrived as a whole yet."""

    def __init__(self, most_count: int, most_bytes: int):
        self.most_count, self.most_bytes = most_count, most_bytes
        self.count, self.bytes = 0, 0

    @contextmanager
    def reading(self, size_bytes: int) -> Iterator[None]:
        """For as long as a request of at most that size is being read; raises ResourceExhausted before it is begun.

        A single one is always let in, or none of that size ever would be.
        """
        if self.count >= self.most_count or (self.count and self.bytes + size_bytes > self.most_bytes):
            text = f"{self.count} requests of {self.bytes} bytes are being sent; no more are read at once"
            raise ResourceExhausted("TOO_MANY_AT_ONCE", text)
        self.count += 1
        self.bytes += size_bytes
        try:
            yield
        finally:
            self.count -= 1
            self.bytes -= size_bytes
