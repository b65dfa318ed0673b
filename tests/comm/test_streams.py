"""Copies by a side stream wait for what the device does, and what it does next waits for them, on any maker's GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mpidl.comm.gossip.streams import Copies, Slots
from mpidl.data.prefetch import Prefetch

GPU = torch.device("xpu", 1)


class Stream:
    """Stands in for a stream: notes in `log` what is asked of it."""

    def __init__(self, log: list[Any], device: torch.device = GPU, name: str = "side") -> None:
        self.log, self.device, self.name = log, device, name

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event: Event) -> None:
        self.log.append(f"{self.name} waits for the event")

    def record_event(self) -> Event:
        event = Event(self.log, self.device)
        event.record(self)
        return event

    def synchronize(self) -> None:
        self.log.append(f"the host waits for {self.name}")

    def __enter__(self) -> Stream:
        self.log.append(f"on {self.name}")
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append("as before")


class Event:
    def __init__(self, log: list[Any], device: torch.device) -> None:
        self.log = log

    def record(self, stream: Stream) -> None:
        self.log.append(f"the event is recorded on {stream.name}")

    def synchronize(self) -> None:
        self.log.append("the host waits for the event")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of the streams and events of a GPU that is not there."""
    asked: list[Any] = []

    def current(device: torch.device) -> Stream:
        assert device == GPU
        return Stream(asked, name="current")

    monkeypatch.setattr(torch, "Stream", lambda device: Stream(asked, device))
    monkeypatch.setattr(torch, "Event", lambda device: Event(asked, device))
    monkeypatch.setattr(torch.accelerator, "current_stream", current)
    return asked


class Memory:
    """Stands in for a tensor there."""

    def __init__(self, log: list[Any], name: str) -> None:
        self.log, self.name = log, name

    def copy_(self, source: Memory, non_blocking: bool = False) -> None:
        self.log.append(f"{self.name} of {source.name}{', in the background' if non_blocking else ''}")

    def pin_memory(self) -> Memory:
        self.log.append(f"{self.name} is pinned")
        return self

    def to(self, device: torch.device, non_blocking: bool) -> Memory:
        assert device == GPU and non_blocking
        self.log.append(f"{self.name} leaves")
        return self

    def record_stream(self, stream: Stream) -> None:
        self.log.append(f"{self.name} is in use by {stream.name}")


def test_copies_are_in_order_with_what_the_device_does_before_and_after(log: list[Any]) -> None:
    slots = Slots(4, torch.float32, GPU, direct=True)
    copies = slots.copies([(Memory(log, "a"), Memory(log, "b"))])
    assert isinstance(copies, Copies) and log == []
    copies.start()
    copies.wait()
    assert log == [
        "side waits for current",
        "on side",
        "b of a, in the background",
        "the event is recorded on side",
        "as before",
        "current waits for the event",
        "the host waits for the event",
    ]
    log.clear()
    slots.settle()
    slots.idle()
    assert log == 2 * ["the host waits for current"]
    log.clear()
    # MPI has no memory of the GPU then.
    Slots(4, torch.float32, GPU, direct=False).settle()
    same = Memory(log, "a")
    nothing = slots.copies([(same, same)])
    nothing.start()
    nothing.wait()
    assert log == []


def test_a_batch_is_used_when_it_has_arrived_and_kept_while_it_is_used(log: list[Any]) -> None:
    made = (Memory(log, "x"), Memory(log, "y"))
    ahead = Prefetch(lambda *key: made, GPU, 1)
    assert ahead.get((0, 0), None) == made
    ahead.close()
    assert log == [
        *(
            "on side",
            "x is pinned",
            "x leaves",
            "y is pinned",
            "y leaves",
            "the event is recorded on side",
            "as before",
        ),
        *("current waits for the event", "x is in use by current", "y is in use by current"),
    ]
