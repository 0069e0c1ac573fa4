"""Tasks of a round."""

from __future__ import annotations

from cluster.tables import parted, rounds, training_plugins, two_workers
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster.submit import Submitter


@two_workers
async def test_a_round_that_is_stopped_before_its_first_row_is_none(c, s, a, b):
    inner = Submitter.submit

    def spy(self, name, worker, function, *arguments):
        if name == "train" and arguments[1] == 4:  # the version of the weights after three rounds
            for home in training_plugins(a) + training_plugins(b):
                home.stopped = 4
        return inner(self, name, worker, function, *arguments)

    Submitter.submit = spy
    try:
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
    finally:
        Submitter.submit = inner
    assert model.model_.record.n_seen == 4000 and model.n_iter_ == 9  # one of them learned nothing
