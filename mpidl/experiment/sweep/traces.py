"""What a run leaves in the process that the next one could see, brought back to what it was: as if that began alone."""

from __future__ import annotations

import gc
import sys

import torch

from mpidl import accelerator
from mpidl.sentences import is_a_librarys


class Traces:
    """The state of this process as it is now, before the first run.

    Everything of mpidl's is derived from the seed or belongs to a run. What is brought back is torch's generators, from
    which a user's network may draw unseeded, and the modules of a user's, which may keep what they like: each run
    imports them anew, from their files as they are then.
    """

    def __init__(self) -> None:
        # What is there now stays: it need not be looked through after each run, which took a tenth of a second.
        gc.freeze()
        self._modules = set(sys.modules)
        self._generator = torch.get_rng_state()
        used = accelerator.in_use()
        self._of_gpus = None if used is None else torch.get_device_module(used).initial_seed()

    def remove(self) -> None:
        """Back to that state."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name not in self._modules and file and file.endswith(".py") and not is_a_librarys(file):
                del sys.modules[name]
        torch.set_rng_state(self._generator)
        used = accelerator.in_use()
        if used is not None and self._of_gpus is not None:
            torch.get_device_module(used).manual_seed_all(self._of_gpus)
        # What parts of a run refer to in circles is not freed by itself.
        gc.collect()
        if used is not None:
            torch.get_device_module(used).empty_cache()
