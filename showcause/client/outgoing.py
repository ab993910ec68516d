"""What both clients share of a stream: the photos on their way out, and those whose answers are waited for."""

import time
from pathlib import Path
from typing import Any

from showcause import reply as r
from showcause.client import calls
from showcause.errors import DeadlineExceeded, InvalidArgument, ShowcauseError, Unavailable, out_of_range
from showcause.v1 import service_pb2
from showcause.wire import MOST_STREAMED_BYTES

Named = calls.Photo | tuple[str, calls.Photo]
IN_HAND = 8  # answers that the caller has not come for yet, at most


class Outgoing:
    """One stream's photos. ``error``: what the caller's own iterable raised; told when the answers are through.

    Raises ValueError for wishes that cannot be written as a message.
    """

    def __init__(self, wishes: dict[str, Any]):
        self.error: Exception | None = None
        self._region = wishes.get("region")
        self._request = calls.explain_request(b"", **wishes)
        self._waiting: set[str] = set()
        self._count, self._moved = 0, time.monotonic()

    def message(self, photo: Named) -> service_pb2.ExplainStreamRequest | r.Streamed:
        """The message for the next photo; or what became of it already, where it cannot be sent."""
        name, photo = photo if isinstance(photo, tuple) else (self._name(photo), photo)
        self._count += 1
        try:
            message = service_pb2.ExplainStreamRequest(id=name, request=self._request)
            if isinstance(photo, str | Path):
                _check_size(Path(photo).stat().st_size)  # before it is read
            message.request.input.CopyFrom(calls.input_message(photo, self._region))
            _check_size(message.ByteSize())
        except InvalidArgument as error:
            return r.Streamed(name, error=error)
        except (OSError, ValueError, TypeError) as error:
            unreadable = InvalidArgument("INPUT_MISSING", f"cannot be read: {error}", field="input.image")
            return r.Streamed(name, error=unreadable)
        if not self._waiting:
            self._moved = time.monotonic()
        self._waiting.add(name)
        return message

    def answered(self, name: str) -> None:
        """To be told of every answer."""
        self._waiting.discard(name)
        self._moved = time.monotonic()

    def left(self, since: float, timeout_seconds: float) -> float:
        """Seconds that the caller, who listens ``since`` then, will wait for the next answer. What they do with an
        answer does not count, nor does the time in which they send nothing."""
        if not self._waiting:
            return timeout_seconds
        return max(since, self._moved) + timeout_seconds - time.monotonic()

    def overdue(self, timeout_seconds: float) -> DeadlineExceeded:
        text = f"no answer for {timeout_seconds:g} s, with {len(self._waiting)} photos waiting"
        return DeadlineExceeded("DEADLINE_EXCEEDED", text)

    def end(self) -> ShowcauseError | None:
        """What is wrong with a stream that ended well."""
        if not self._waiting:
            return None
        return Unavailable("ENGINE_UNAVAILABLE", f"the stream ended, and {len(self._waiting)} photos have no answer")

    def _name(self, photo: calls.Photo) -> str:
        """A path is its own name; anything else is called by its position, and so is a path that waits already."""
        name = str(photo) if isinstance(photo, str | Path) else str(self._count)
        return f"{name} ({self._count})" if name in self._waiting else name


def _check_size(size: int) -> None:
    if size > MOST_STREAMED_BYTES:
        raise out_of_range("input.image", f"{size} bytes", f"at most {MOST_STREAMED_BYTES} bytes on a stream")
