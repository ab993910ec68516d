"""Who may go on to the engine, and when: for each model version a bounded queue, here and not in the engine.

What waits here costs nothing when its caller goes away or its deadline passes: the engine never hears of it. Imports no
torch.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from showcause.errors import DeadlineExceeded, ResourceExhausted

QUEUE_SIZE = 64  # requests that wait for one model version, at most
LEAST_RETRY_SECONDS, MOST_RETRY_SECONDS = 1.0, 60.0
_Lane = deque[asyncio.Future[None]]


class Admission:
    """slots: requests that the engine has at once. most_waiting: beyond those.

    running, waiting: how many there are. backlog_seconds: what all of them are expected to cost together.

    Photos of streams wait in a lane of their own, which only their windows bound, and take turns with the others. A
    request that may have killed a worker goes on alone, while nothing else is computed: so it harms nobody again, and
    is known by what becomes of it.
    """

    def __init__(self, slots: int, most_waiting: int):
        self.slots, self.most_waiting = slots, most_waiting
        self.running, self.backlog_seconds = 0, 0.0
        self._lanes: list[_Lane] = [deque(), deque()]  # requests, photos of streams
        self._next = 0  # whose lane's turn it is
        self._suspects: _Lane = deque()
        self._alone = False  # a suspect is being computed

    @property
    def waiting(self) -> int:
        return sum(map(len, (*self._lanes, self._suspects)))

    @property
    def waiting_photos(self) -> int:
        """Of them, photos of streams."""
        return len(self._lanes[1])

    @property
    def in_flight(self) -> int:
        return self.running + self.waiting

    @contextmanager
    def counted(self, cost_seconds: float) -> Iterator[None]:
        """Adds what a request is expected to cost to the backlog for as long as it is in flight."""
        self.backlog_seconds += cost_seconds
        try:
            yield
        finally:
            self.backlog_seconds -= cost_seconds

    def check_room(self, workers: int) -> None:
        """Raises ResourceExhausted where the queue is full, saying when about half of it will be done."""
        if len(self._lanes[0]) < self.most_waiting:
            return
        seconds = min(max(self.backlog_seconds / workers / 2, LEAST_RETRY_SECONDS), MOST_RETRY_SECONDS)
        text = f"{self.most_waiting} requests wait for this model already; try again in {seconds:.0f} s"
        raise ResourceExhausted("QUEUE_FULL", text, retry_seconds=seconds)

    @asynccontextmanager
    async def turn(self, deadline: float, *, streamed: bool = False, alone: bool = False) -> AsyncIterator[None]:
        """For as long as somebody waits for the request; see ``keep``. Raises DeadlineExceeded where its turn did not
        come in time.
        """
        lane = self._suspects if alone else self._lanes[streamed]
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.append(mine)
        self._grant()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.time())):
                await mine
        except BaseException as error:
            if mine in lane:
                lane.remove(mine)
                self._grant()  # a suspect that is gone holds nobody up
            elif not mine.cancelled():
                self._leave(alone)  # its turn came at the very moment
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded("DEADLINE_EXCEEDED", "the deadline passed while the request waited") from None
            raise
        try:
            yield
        finally:
            self._leave(alone)

    def keep(self, call: "asyncio.Future[Any]") -> None:
        """The engine goes on with a call although nobody waits for it: its place stays taken until it ends."""
        self.running += 1

        def ended(_: "asyncio.Future[Any]") -> None:
            if not call.cancelled():
                call.exception()  # seen: nobody else asks
            self._leave(False)

        call.add_done_callback(ended)

    def _leave(self, alone: bool) -> None:
        self.running -= 1
        self._alone = self._alone and not alone
        self._grant()

    def _grant(self) -> None:
        if not self.running and self._begin(self._suspects):
            self._alone = True
        while not self._alone and not self._suspects and self.running < self.slots and any(self._lanes):
            self._next = 1 - self._next if self._lanes[1 - self._next] else self._next
            self._begin(self._lanes[self._next])

    def _begin(self, lane: _Lane) -> bool:
        """Lets the first of a lane go on who has not gone away; whether there was one."""
        while lane:
            mine = lane.popleft()
            if not mine.cancelled():
                self.running += 1
                mine.set_result(None)
                return True
        return False
