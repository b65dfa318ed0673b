"""Areas of what all else stands on: MPI, its messages, shared memory, and GPUs."""

from __future__ import annotations

import torch

from mpidl import makers
from mpidl.comm import probe
from mpidl.comm.start import device as devices
from mpidl.seeding import stream
from mpidl.selftest.area import Fault, NotHere, Site
from mpidl.spoken import counted

# What is sent at once by every MPI, and what only when the receiver is ready; in one piece of a row, and more.
SIZES = (1, 4096, 2**16 + 1, 2**23)
_SIDE = 256


def mpi(site: Site) -> str:
    """The ranks are one world, of one MPI."""
    found = probe.joined(site.world)
    return f"{counted(site.world.size, 'rank')} on {counted(len(set(site.world.hosts)), 'host')}; {found}"


def messages(site: Site) -> str:
    """What ranks send each other arrives as it left, by requests for once and by kept ones."""
    world = site.world
    if world.size == 1:
        raise NotHere("one rank has nobody to send to; give -n 2")
    distances = [2**power for power in range((world.size - 1).bit_length())]
    found = [
        probe.sent_around(world, size, distance, keep)
        for size in SIZES
        for distance in distances
        for keep in (False, True)
    ]
    wrong = next(filter(None, found), "")
    if wrong:
        raise Fault(
            wrong,
            "try another transport (Open MPI: --mca pml ob1 --mca btl self,sm,tcp; UCX: UCX_TLS=tcp,self; libfabric: "
            "FI_PROVIDER=tcp), and tell who looks after this machine if that helps",
        )
    return f"{len(found)} from each rank, of {SIZES[0]} to {SIZES[-1]:,} bytes"


def shared_memory(site: Site) -> str:
    """Ranks of a node see what each other has written."""
    wrong = probe.shared_memory(site.world)
    if wrong:
        raise Fault(
            wrong,
            "runs then send messages within a node, which is slower: make room (df -h /dev/shm; in a container "
            "docker run --shm-size=8g)",
        )
    return f"{len(site.world.node_ranks)} ranks share memory"


def gpu(site: Site) -> str:
    """Each rank's GPU multiplies as the CPU does, and it is known whether MPI takes its memory."""
    if site.gpu_problem:
        raise Fault(site.gpu_problem, "see nvidia-smi, rocm-smi or xpu-smi; runs with train.device: cpu do without")
    device = devices.resolve("auto")
    if device.type == "cpu":
        raise NotHere(f"{devices.why_none()}; runs compute on the CPU")
    build = makers.torch_build()
    tool, runtime = (build.maker.tool, build.maker.runtime) if build else ("its tools", "its runtime")
    wrong = wrong_product(device)
    reached = probe.reaches_gpus(site.world, device)
    if wrong:
        raise Fault(wrong, f"see {tool} for errors of its memory, and whether torch was built for this GPU")
    how = "MPI takes its memory" if reached else f"rows go to MPI by the host, as it takes no memory by {runtime}"
    return f"{devices.name(device)}, {build}; {how}"


def wrong_product(device: torch.device) -> str:
    """What is wrong with a product of matrices of small whole numbers, which is exact on any device, or nothing."""
    numbers = stream(0, "selftest").integers(-8, 9, (2, _SIDE, _SIDE))
    one, other = torch.from_numpy(numbers).float()
    expected = torch.from_numpy(numbers[0] @ numbers[1]).float()
    found = torch.matmul(one.to(device), other.to(device)).cpu()
    differ = int((found != expected).sum())
    return f"{differ:,} of {_SIDE**2:,} numbers of a product on {devices.name(device)} are wrong" if differ else ""
