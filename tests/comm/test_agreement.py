"""Facts that ranks must share: an error that names what differs, on all of them, whatever the facts are."""

from __future__ import annotations

import socket

import pytest

from mpidl.comm.agreement import agree
from mpidl.errors import CommunicationError
from tests.ranks import on_ranks

HOST = socket.gethostname()


def told(comm, mine: dict[str, str]) -> str:
    """The error, which is the same on all ranks."""
    with pytest.raises(CommunicationError) as caught:
        agree(comm, mine, "mend it")
    assert len(set(comm.allgather(str(caught.value)))) == 1
    return str(caught.value)


@on_ranks(1, 3)
def test_the_same_facts_in_another_order_are_agreed_on(comm):
    facts = {"a": "1", "b": "2"}
    agree(comm, facts if comm.rank else dict(reversed(facts.items())), "mend it")
    agree(comm, {}, "mend it")


@on_ranks(3)
def test_what_differs_is_named_with_both_values_ranks_and_hosts(comm):
    facts = {"a": "1", "seed": "8" if comm.rank == 2 else "7"}
    assert told(comm, facts) == (
        f"rank 0 on {HOST} and rank 2 on {HOST} disagree: seed is 7 on the one and 8 on the other; mend it"
    )


@on_ranks(2)
def test_what_only_one_of_them_has_is_named_whichever_it_is(comm):
    facts = {"graph": "ring"} if comm.rank else {"server": "s"}
    text = told(comm, facts)
    assert "server is s on the one and absent on the other, graph is absent on the one and ring on the other" in text


@on_ranks(2)
def test_of_much_that_differs_some_is_said(comm):
    text = told(comm, {f"key {number}": f"{comm.rank}" * 1000 for number in range(50)})
    assert "key 2 is 000" in text and "key 3" not in text and "and 47 more; mend it" in text
    assert len(text) < 600


@on_ranks(2)
def test_of_what_is_long_the_part_that_differs_is_said(comm):
    text = told(comm, {"the run file": f"/home/{'deep/' * 50}{comm.rank}/run.h5"})
    assert "deep/0/run.h5 on the one and …" in text and "deep/1/run.h5 on the other; mend it" in text
    assert len(text) < 300


@on_ranks(2)
def test_facts_of_any_size_meet(comm):
    assert "b is absent on the one and 2 on the other" in told(comm, {"b": "2"} if comm.rank else {})
    assert "0 on the one and absent" in told(comm, {} if comm.rank else {str(n): "0" for n in range(100_000)})
