"""How many chunks of a row from another node are under way at a time: found out in the first turns of an exchange.

What a link asks for is its delay times its rate, and both are of the link and of the protocol above it: unless
a chunk is sent unasked, it is announced and asked for, and what is asked for waits behind what is being sent the other
way. So they are not measured by themselves, but by what more chunks bring.
"""

from __future__ import annotations

TURNS = 3
"""Turns with each number; the quickest counts, since whatever holds up ranks makes turns longer and never shorter."""

PAYS = 0.9
"""A number is worth its memory if turns become shorter by this factor."""


class Pace:
    """The number of chunks, `ring`, doubled as long as turns become shorter by it, and then left alone."""

    def __init__(self, least: int, most: int) -> None:
        self.ring, self._most = min(least, most), most
        self._before = (self.ring, float("inf"))
        self._seconds: list[float] = []
        self.settled = self.ring == most

    def see(self, seconds: float) -> bool:
        """A turn's chunks took so long to arrive, from the first to the last; whether `ring` is another one now."""
        if self.settled:
            return False
        self._seconds.append(seconds)
        if len(self._seconds) < TURNS:
            return False
        now, (ring, before) = min(self._seconds), self._before
        self._seconds.clear()
        if now > PAYS * before:
            self.ring, self.settled = ring, True
            return True
        self.settled = self.ring == self._most
        if self.settled:
            return False
        self._before = self.ring, now
        self.ring = min(2 * self.ring, self._most)
        return True
