"""Exact and compressed rounds of two agents over a link of a given speed; started by bench_compression.py --link.

Two network namespaces, joined by a pair of virtual interfaces whose speed `tc tbf` limits, are the two hosts. In each
runs one end, this file as a program: by turns it mixes with the other end's row as it is and as its compressor makes
it. A round packs, sends and receives, and mixes or unpacks, one after the other.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mpidl.compressors import COMPRESSORS, Draw  # noqa: E402
from mpidl.layout import Layout  # noqa: E402

ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 29700
LAUNCH_SECONDS = 300


def check(name: str, settings: dict[str, Any], parameters: int, seconds: float) -> None:
    """Prints what rounds take over links below and above the speed at which both should be equally long."""
    reason = why_not()
    if reason:
        print(f"\nlink: skipped, {reason}")
        return
    with link() as limit:
        unlimited = rounds(settings, parameters, seconds)
        more = unlimited["pack"] + 2 * unlimited["unpack"] - unlimited["mix"]
        if more <= 0:
            print(f"\nlink: {name} pays over any link, which leaves nothing to check")
            return
        speed = 8 * (unlimited["row bytes"] - unlimited["packed bytes"]) / more
        heading = f"link: {name}, {parameters / 1e6:g} million numbers, two agents"
        print(f"\n{heading}; equally long at {speed / 1e6:,.0f} Mbit/s")
        columns = f"{'exact: predicted':>20}{'measured':>12}{name + ': predicted':>26}{'measured':>12}   faster"
        print(f"{'Mbit/s':>12}{columns}")
        for share in (1 / 8, 1 / 2, 2):
            limit(speed * share)
            taken = rounds(settings, parameters, seconds)
            exact = taken["mix"] + 8 * taken["row bytes"] / (speed * share)
            packed = taken["pack"] + 2 * taken["unpack"] + 8 * taken["packed bytes"] / (speed * share)
            faster = name if taken["compressed"] < taken["exact"] else "exact"
            print(
                f"{speed * share / 1e6:12,.0f}{1e3 * exact:17.2f} ms{1e3 * taken['exact']:9.2f} ms"
                f"{1e3 * packed:23.2f} ms{1e3 * taken['compressed']:9.2f} ms   {faster}",
                flush=True,
            )
        measured = f"{1e3 * unlimited['exact']:.2f} ms exact, {1e3 * unlimited['compressed']:.2f} ms {name}"
        print(f"without a limit: {measured}")


def why_not() -> str:
    """Why this machine cannot be made two hosts; empty if it can."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return f"no network namespace: {probe.stderr.strip()}" if probe.returncode else ""


def namespace(end: int) -> str:
    return f"mpidl-{os.getpid()}-{end}"


@contextmanager
def link() -> Iterator[Any]:
    """Two namespaces and the link between them; gives what sets its speed, in bit/s."""

    def run(*words: str) -> None:
        subprocess.run(words, check=True)

    def limit(speed: float) -> None:
        for end in (0, 1):
            # Two milliseconds' worth, since what goes in one burst is not held up.
            burst = max(16_000, int(speed / 8 * 0.002))
            rule = ("root", "tbf", "rate", f"{int(speed)}bit", "burst", str(burst), "latency", "50ms")
            run("tc", "-n", namespace(end), "qdisc", "replace", "dev", f"end{end}", *rule)

    # Namespaces outlive whoever made them, unless what ends it is an exception.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for end in (0, 1):
            run("ip", "netns", "add", namespace(end))
        pair = ("end0", "netns", namespace(0), "type", "veth", "peer", "name", "end1", "netns", namespace(1))
        run("ip", "link", "add", *pair)
        for end in (0, 1):
            run("ip", "-n", namespace(end), "addr", "add", f"{ADDRESSES[end]}/30", "dev", f"end{end}")
            run("ip", "-n", namespace(end), "link", "set", f"end{end}", "up")
        yield limit
    finally:
        for end in (0, 1):
            subprocess.run(["ip", "netns", "del", namespace(end)], check=False)


def rounds(settings: dict[str, Any], parameters: int, seconds: float) -> dict[str, float]:
    """Medians of one end, in seconds."""

    def command(end: int) -> list[str]:
        inside = ["ip", "netns", "exec", namespace(end)]
        return [*inside, sys.executable, __file__, str(end), json.dumps(settings), str(parameters), str(seconds)]

    first = subprocess.Popen(command(0), stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    try:
        # It has written that it listens, or it has ended.
        first.stdout.readline()
        subprocess.run(command(1), check=True, timeout=LAUNCH_SECONDS + 2 * seconds)
        text, _ = first.communicate(timeout=LAUNCH_SECONDS)
    finally:
        first.kill()
    medians: dict[str, float] = json.loads(text)
    return medians


class Peer:
    """The other end: bytes go and come at once."""

    def __init__(self, end: int) -> None:
        if end == 0:
            with socket.create_server((ADDRESSES[0], PORT)) as server:
                print("listening", flush=True)
                self._socket, _ = server.accept()
        else:
            self._socket = socket.create_connection((ADDRESSES[0], PORT))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sender = ThreadPoolExecutor(1)

    def swap(self, own: Tensor, other: Tensor) -> None:
        """Sends the bytes of one tensor while those of the other arrive."""
        sent = self._sender.submit(self._socket.sendall, memoryview(own.numpy()).cast("B"))
        view = memoryview(other.numpy()).cast("B")
        while len(view):
            arrived = self._socket.recv_into(view)
            if not arrived:
                raise ConnectionError("the other end is gone")
            view = view[arrived:]
        sent.result()


def end_main(end: int, settings: dict[str, Any], parameters: int, seconds: float) -> None:
    torch.set_num_threads(1)
    side = int(parameters**0.5)
    layout = Layout(("matrix", "rest"), ((side, side), (parameters - side * side,)))
    codec = COMPRESSORS.parse(settings).codec(layout, torch.float32, torch.device("cpu"))
    memory = {name: torch.zeros(shape) for name, shape in codec.memory.items()}
    row, received, out = torch.randn(parameters), torch.empty(parameters), torch.empty(parameters)
    own, other = (torch.empty(codec.nbytes, dtype=torch.uint8) for _ in range(2))
    go, told = torch.ones(1, dtype=torch.uint8), torch.ones(1, dtype=torch.uint8)
    peer = Peer(end)
    times: dict[str, list[float]] = {name: [] for name in ("exact", "mix", "compressed", "pack", "unpack")}
    stop = time.perf_counter() + seconds
    turn = 0
    # The first end says, before each round, whether there is one.
    while True:
        if end == 0:
            go[0] = time.perf_counter() < stop or turn < 6
        peer.swap(go, told)
        if not (go if end == 0 else told).item():
            break
        start = time.perf_counter()
        if turn % 2:
            peer.swap(row, received)
            mixing = time.perf_counter()
            torch.mul(row, 0.5, out=out).add_(received, alpha=0.5)
            done = time.perf_counter()
            times["exact"].append(done - start)
            times["mix"].append(done - mixing)
        else:
            codec.pack(row, own, Draw(1, "gossip", end, turn), memory)
            packed = time.perf_counter()
            peer.swap(own, other)
            arrived = time.perf_counter()
            out.zero_()
            codec.add(own, out, 0.5, Draw(1, "gossip", end, turn))
            codec.add(other, out, 0.5, Draw(1, "gossip", 1 - end, turn))
            done = time.perf_counter()
            times["compressed"].append(done - start)
            times["pack"].append(packed - start)
            times["unpack"].append((done - arrived) / 2)
        turn += 1
    if end == 0:
        medians = {name: statistics.median(values[1:]) for name, values in times.items()}
        print(json.dumps({**medians, "row bytes": row.nbytes, "packed bytes": codec.nbytes}), flush=True)


if __name__ == "__main__":
    end_main(int(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
