"""A long cable between the networks of two processes: what goes in at one end comes out at the other after a delay.

    python tools/two_hosts_cable.py PROCESS PROCESS SECONDS NAME

Each network gets an interface of this name, which is there as long as this runs; "ready" is printed once both are. It
is for kernels without netem. Packets may be as long as a segment handed to a network card: there are few of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from pathlib import Path

# Of linux/if_tun.h and sched.h.
TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
LONGEST = 65536


def end(process: int, name: str) -> int:
    """The handle of a new interface in the network of this process, which this one enters."""
    with Path(f"/proc/{process}/ns/net").open() as network:
        if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"the network of process {process} cannot be entered")
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return handle


def carry(ends: tuple[int, int], delay: float) -> None:
    """Takes packets from each end to the other as long as there is one."""
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    there, under_way = set(ends), deque[tuple[float, int, bytes]]()
    while there:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for handle in select.select(there, [], [], wait)[0]:
            try:
                while True:
                    packet = os.read(handle, LONGEST)
                    under_way.append((time.monotonic() + delay, other[handle], packet))
            except BlockingIOError:
                pass
            except OSError:
                # The host has ended, and its interface with it.
                there.remove(handle)
        while under_way and under_way[0][0] <= time.monotonic():
            _, handle, packet = under_way.popleft()
            # An end that is down takes nothing.
            with contextlib.suppress(OSError):
                os.write(handle, packet)


if __name__ == "__main__":
    first, second, seconds, interface = sys.argv[1:]
    both = end(int(first), interface), end(int(second), interface)
    print("ready", flush=True)
    carry(both, float(seconds))
