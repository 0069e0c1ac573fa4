"""Checkpoints as a listener: when one is written, and what becomes of one that cannot be."""

from __future__ import annotations

import pytest

from dask_dl.errors import DaskDLWarning
from dask_dl.events import Learned, Listeners, Saved, Trained, Warned
from dask_dl.training.saving import PeriodicCheckpoints


def listening(interval, write=lambda state, network: f"{state}-{network}"):
    """A listener, and the events that it tells of."""
    heard = []
    return PeriodicCheckpoints(write, "the folder", interval, Listeners([heard.append])), heard


def learned(name, *, is_last=False):
    return Learned(name, lambda: "network", is_last)


def test_a_checkpoint_is_written_when_it_is_time_and_at_the_end():
    often, heard = listening(0.0)
    for event in (learned("one"), Trained(5), learned("two"), learned("end", is_last=True)):
        often(event)
    assert heard == [Saved("one-network"), Saved("two-network"), Saved("end-network")]
    rarely, heard = listening(1e6)
    for event in (learned("one"), learned("end", is_last=True)):
        rarely(event)
    assert heard == [Saved("end-network")]


def test_the_network_is_fetched_for_a_checkpoint_only():
    rarely, heard = listening(1e6)
    rarely(Learned("one", lambda: pytest.fail("it was fetched"), is_last=False))
    assert heard == []


def test_every_cause_of_failure_is_warned_of_once_and_it_is_tried_again():
    errors = [OSError(28, "full"), OSError(28, "full"), OSError(13, "denied"), RuntimeError("403"), None]

    def write(state, network):
        error = errors.pop(0)
        if error is not None:
            raise error
        return "there"

    listener, heard = listening(0.0, write)
    with pytest.warns(DaskDLWarning, match="no checkpoint could be written to the folder") as warned:
        [listener(learned(k)) for k in range(5)]
    assert len(warned) == 3 and heard[-1] == Saved("there")
    assert [event.kind for event in heard if isinstance(event, Warned)] == ["not saved"] * 3
