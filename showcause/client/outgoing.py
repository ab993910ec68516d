"""What both clients share of a stream: the photos on their way out, and those whose answers are waited for."""

import time
from collections import deque
from pathlib import Path
from typing import Any

from showcause import reply as r
from showcause.client import calls
from showcause.errors import DeadlineExceeded, InvalidArgument, out_of_range
from showcause.v1 import service_pb2
from showcause.wire import MOST_STREAMED_BYTES

Named = calls.Photo | tuple[str, calls.Photo]


class Outgoing:
    """One stream's photos. ``failed`` holds those that could not be sent; ``error`` what ends the stream from here.

    timeout_seconds: how long an answer may be waited for while none comes.
    """

    def __init__(self, wishes: dict[str, Any], timeout_seconds: float):
        self.failed: deque[r.Streamed] = deque()
        self.error: Exception | None = None
        self._wishes, self._timeout = wishes, timeout_seconds
        self._count, self._waited_for, self._moved = 0, 0, time.monotonic()

    def request(self, photo: Named) -> service_pb2.ExplainStreamRequest | None:
        """The message for the next photo; None where it cannot be sent, which does not concern the others."""
        self._count += 1
        name, photo = photo if isinstance(photo, tuple) else (self._name(photo), photo)
        try:
            request = calls.explain_request(photo, **self._wishes)
            if (size := request.ByteSize()) > MOST_STREAMED_BYTES:
                raise out_of_range("input.image", f"{size} bytes", f"at most {MOST_STREAMED_BYTES} bytes on a stream")
        except InvalidArgument as error:
            self.failed.append(r.Streamed(name, error=error))
            return None
        except OSError as error:
            unreadable = InvalidArgument("INPUT_MISSING", f"cannot be read: {error}", field="input.image")
            self.failed.append(r.Streamed(name, error=unreadable))
            return None
        if not self._waited_for:
            self._moved = time.monotonic()
        self._waited_for += 1
        return service_pb2.ExplainStreamRequest(id=name, request=request)

    def answered(self) -> None:
        """To be told of every answer."""
        self._waited_for -= 1
        self._moved = time.monotonic()

    def overdue(self) -> bool:
        """Whether an answer has been waited for too long; ``error`` says so then."""
        if not self._waited_for or time.monotonic() - self._moved < self._timeout:
            return False
        text = f"no answer for {self._timeout:g} s, with {self._waited_for} photos waiting"
        self.error = DeadlineExceeded("DEADLINE_EXCEEDED", text)
        return True

    def _name(self, photo: calls.Photo) -> str:
        """A path is its own name; anything else is called by its position."""
        return str(photo) if isinstance(photo, str | Path) else str(self._count - 1)
