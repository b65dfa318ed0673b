"""What compressing a row costs and saves, and below which speed of the link it pays; measured in one run.

    python tools/bench_compression.py [--millions 0.1,1,10,25] [--seconds 20] [--only qsgd-8,sign] [--link qsgd-4]

For each compressor and row of float32: seconds to pack, and to unpack and mix (out += w C(row)), as multiples of
copying the row, medians with quartiles; bytes on the wire; and the speed of a link below which a round of compressed
gossip is the shorter one. All take turns, each with a copy of its own just before, so that a slow moment of the machine
meets both. One thread, and on a CPU its own time.

A round on a ring, as it is counted here: exact gossip sends two rows and mixes two; compressed gossip packs one, sends
it twice, and unpacks and mixes three, its own among them. Sending takes bytes/speed and does not overlap, so that

    speed = 8 · 2 (bytes of a row − bytes packed) / (pack + 3 · unpack-and-mix − 2 · mix)   bit/s

"any" is where compressed gossip computes no longer than exact gossip does. --link checks one compressor for real: two
agents on two network namespaces, joined by a link whose speed is limited, where there are root and `tc`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import bench_compression_link  # noqa: E402
import mpi4py  # noqa: E402

mpi4py.rc.initialize = False
from mpidl.comm.start.startup import keep_freed_memory  # noqa: E402
from mpidl.compressors import COMPRESSORS, Codec, Draw  # noqa: E402
from mpidl.layout import Layout  # noqa: E402

COMPRESSORS_SHOWN: dict[str, dict[str, Any]] = {
    "sign": {"name": "sign"},
    "sign per 512": {"name": "sign", "per": 512},
    "qsgd-8": {"name": "qsgd", "bits": 8},
    "qsgd-4": {"name": "qsgd", "bits": 4},
    "topk 1 %": {"name": "topk", "fraction": 0.01},
    "topk 10 %": {"name": "topk", "fraction": 0.1},
    "randomk 1 %": {"name": "randomk", "fraction": 0.01},
    "randomk 10 %": {"name": "randomk", "fraction": 0.1},
    "lowrank 4": {"name": "lowrank", "rank": 4},
    "cast bfloat16": {"name": "cast", "dtype": "bfloat16"},
}
NEIGHBOURS = 2
WEIGHT = 1 / 3


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", default="0.1,1,10,25", help="numbers of a row, in millions")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each size, all compressors together")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(COMPRESSORS_SHOWN)}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--link", default="", help="also check one of them, such as qsgd-4, over a rate-limited link")
    return parser.parse_args()


def layout_of(parameters: int) -> Layout:
    """Square matrices of up to a million numbers, and a vector of the rest, as networks have them."""
    side = int(min(parameters, 10**6) ** 0.5)
    matrices = parameters // side**2
    shapes = [(side, side)] * matrices + [(parameters - matrices * side**2,)]
    return Layout(tuple(map(str, range(len(shapes)))), tuple(shapes))


@dataclass
class Contestant:
    """One compressor on one row, and the seconds of its turns, each beside those of a copy."""

    codec: Codec
    row: Tensor
    copies: list[float] = field(default_factory=list)
    packs: list[float] = field(default_factory=list)
    mixes: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._out, self._copy = torch.zeros_like(self.row), torch.empty_like(self.row)
        self._packed = torch.empty(self.codec.nbytes, dtype=torch.uint8, device=self.row.device)
        shapes = self.codec.memory.items()
        self._memory = {name: torch.zeros(shape, device=self.row.device) for name, shape in shapes}
        self._round = 0

    def turn(self) -> None:
        """Copies, packs, unpacks and mixes once each."""
        draw = Draw(1, "gossip", 0, self._round)
        self._round += 1
        self.copies.append(self._seconds(lambda: self._copy.copy_(self.row)))
        self.packs.append(self._seconds(lambda: self.codec.pack(self.row, self._packed, draw, self._memory)))
        self.mixes.append(self._seconds(lambda: self.codec.add(self._packed, self._out, WEIGHT, draw)))

    def _seconds(self, work: Callable[[], object]) -> float:
        """On a CPU the thread's own time, without that of other programs."""
        if self.row.device.type == "cpu":
            begin = time.thread_time()
            work()
            return time.thread_time() - begin
        begin = time.perf_counter()
        work()
        torch.accelerator.synchronize(self.row.device)
        return time.perf_counter() - begin


class Exact(Contestant):
    """Mixing a row as it came, where others unpack; there is nothing to pack."""

    def turn(self) -> None:
        self.copies.append(self._seconds(lambda: self._copy.copy_(self.row)))
        self.mixes.append(self._seconds(lambda: self._out.add_(self.row, alpha=WEIGHT)))


def speed_below_which_it_pays(contestant: Contestant, exact: Contestant) -> float:
    """In Mbit/s; infinite where compressed gossip takes no longer over any link."""
    saved = NEIGHBOURS * (contestant.row.nbytes - contestant.codec.nbytes)
    pack, unpack, mix = map(statistics.median, (contestant.packs, contestant.mixes, exact.mixes))
    more = pack + (NEIGHBOURS + 1) * unpack - NEIGHBOURS * mix
    return 8e-6 * saved / more if more > 0 else float("inf")


def ratios(times: list[float], copies: list[float]) -> str:
    """The median of the turns' ratios, with their quartiles."""
    low, median, high = statistics.quantiles([t / c for t, c in zip(times, copies, strict=True)], n=4)
    return f"{median:6.2f} ({low:.2f}–{high:.2f})"


def measured(parameters: int, shown: dict[str, dict[str, Any]], seconds: float, device: torch.device) -> None:
    layout = layout_of(parameters)
    row = torch.randn(parameters, device=device)
    contestants: dict[str, Contestant] = {
        name: Contestant(COMPRESSORS.parse(settings).codec(layout, row.dtype, device), row)
        for name, settings in shown.items()
    }
    exact = Exact(COMPRESSORS.parse({"name": "cast", "dtype": "float32"}).codec(layout, row.dtype, device), row)
    everybody = [exact, *contestants.values()]
    for contestant in everybody:
        contestant.turn()
        for times in (contestant.copies, contestant.packs, contestant.mixes):
            times.clear()
    order = random.Random(0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(exact.mixes) < 6:
        for contestant in order.sample(everybody, len(everybody)):
            contestant.turn()
    copy = 1e3 * statistics.median(copy for contestant in everybody for copy in contestant.copies)
    print(f"\n{parameters / 1e6:g} million numbers: a copy takes {copy:.3f} ms; {len(exact.mixes)} turns")
    print(
        f"{'':16}{'pack / copy':>22}{'unpack and mix / copy':>24}{'sum':>7}{'bytes':>11}{'of row':>8}{'pays below':>16}"
    )
    mixing = ratios(exact.mixes, exact.copies)
    print(f"{'exact':16}{'':>22}{mixing:>24}{'':>7}{row.nbytes:>11}{'100 %':>8}")
    for name, contestant in contestants.items():
        both = [pack + mix for pack, mix in zip(contestant.packs, contestant.mixes, strict=True)]
        total = statistics.median(t / c for t, c in zip(both, contestant.copies, strict=True))
        packing, mixing = (ratios(times, contestant.copies) for times in (contestant.packs, contestant.mixes))
        size = contestant.codec.nbytes
        speed = speed_below_which_it_pays(contestant, exact)
        pays = "any" if speed == float("inf") else f"{speed:,.0f} Mbit/s"
        columns = f"{packing:>22}{mixing:>24}{total:7.2f}{size:>11}{size / row.nbytes:8.1%}{pays:>16}"
        print(f"{name:16}{columns}", flush=True)


def main() -> None:
    arguments = options()
    torch.set_num_threads(1)
    keep_freed_memory()
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    shown = {name: COMPRESSORS_SHOWN[name] for name in only} if only else COMPRESSORS_SHOWN
    device = torch.device(arguments.device)
    print(f"one thread, {device}, torch {torch.__version__}, float32")
    for millions in map(float, arguments.millions.split(",")):
        measured(int(millions * 1e6), shown, arguments.seconds, device)
        if arguments.link:
            bench_compression_link.check(
                arguments.link, COMPRESSORS_SHOWN[arguments.link], int(millions * 1e6), arguments.seconds / 5
            )


if __name__ == "__main__":
    main()
