"""Progress of what takes longer than two seconds, as lines of text. Imports no torch."""

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

FIRST_SECONDS, LONGEST_SECONDS = 2.0, 16.0  # until the first line; then ever more, up to this
Batch = TypeVar("Batch", bound=Sized)


def told(
    batches: Iterable[Batch], total: int, title: str, say: Callable[[str], None], before: int = 0
) -> Iterator[Batch]:
    """The same batches; says now and then how many of ``total`` items are done.

    before: how many of them were done already when this began.
    """
    done, began, wait = 0, time.monotonic(), FIRST_SECONDS
    said = began
    for batch in batches:
        yield batch
        done += len(batch)
        if time.monotonic() - said > wait:
            said, wait = time.monotonic(), min(2 * wait, LONGEST_SECONDS)
            left = (said - began) / done * (total - before - done)
            say(f"{title}: {before + done} of {total}, about {left:.0f} s left")
