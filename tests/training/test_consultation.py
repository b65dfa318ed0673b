"""Ranks that consult each other beside the rounds learn the same thing after the same round: what was said."""

from __future__ import annotations

import numpy as np

from tests.ranks import on_ranks


@on_ranks(1, 3)
def test_all_ranks_learn_what_all_have_said_after_the_same_round(comm):
    from mpidl.comm.world import World
    from mpidl.training.consultation import Consultation

    world = World(comm, comm.size)
    consultation, learned = Consultation(world), []
    for done in range(1, 400):
        known = consultation.after_round(done, lambda done=done: [done * (comm.rank + 1), 1])
        # What is under way meanwhile does not lie where other numbers come to lie.
        for _ in range(3):
            world.sum(np.full(3, 10**9 + done, dtype=np.int64))
        if known is not None:
            learned.append((done, *known))
    consultation.close()
    assert comm.bcast(learned) == learned and len(learned) > 5
    everyone = comm.size * (comm.size + 1) // 2
    assert all(asked == everyone * (done - 1) and voices == comm.size for done, asked, voices in learned)
    world.close()
