"""Where every weight lies, and the way to files and back."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import ACTIVATIONS

from dask_dl.kernels.layout import BIASES, MEANS, STRIDE, WEIGHTS, Topology
from dask_dl.state import LANE, padded

TOPOLOGIES = [
    {"activation": activation, "n_onehot": n_onehot, "n_dense": n_dense, "hidden": hidden, "has_means": has_means}
    for activation in ACTIVATIONS
    for n_onehot, n_dense, hidden in [(7, 3, (5, 18)), (0, 20, (16,)), (40, 0, (17, 1, 3)), (2, 2, ())]
    for has_means in (False, True)
]


def topology_of(activation="maxout", n_onehot=7, n_dense=3, hidden=(5, 18), n_outputs=2, **more):
    return Topology(n_onehot, n_dense, hidden, n_outputs, activation, "softmax", **more)


def parameters(topology):
    """Weights and biases, no two numbers alike."""
    random = np.random.default_rng(1)
    weights = [random.normal(size=s).astype(np.float32) for s in topology.shapes]
    return weights, [random.normal(size=n).astype(np.float32) for n, _ in topology.shapes]


def remembered(topology, flat):
    """The same vector with mean activations."""
    for k, mean in enumerate(topology.means(flat)):
        mean[:] = np.arange(len(mean)) + 10 * k + 1
    return flat


def assert_equal(some, others):
    for part, same in zip(some, others, strict=True):
        for array, again in zip(part, same, strict=True):
            np.testing.assert_array_equal(array, again)


@pytest.mark.parametrize("kind", TOPOLOGIES, ids=str)
def test_layout_is_aligned_and_reversible(kind):
    topology = topology_of(**kind)
    weights, biases = parameters(topology)
    flat = topology.pack(weights, biases)
    assert flat.ctypes.data % 64 == 0
    assert topology.onehot_size % LANE == 0 and topology.size % LANE == 0 and flat.shape == (topology.size,)
    assert_equal(topology.unpack(flat), (weights, biases))
    assert topology.n_parameters == sum(a.size for a in weights + biases) == np.count_nonzero(flat)
    assert not any(mean.any() for mean in topology.means(flat))


@pytest.mark.parametrize("kind", TOPOLOGIES, ids=str)
def test_segments_are_all_of_the_vector_and_each_number_of_a_file_once(kind):
    topology = topology_of(**kind)
    ends = [0, *(segment.start + segment.size for segment in topology.segments)]
    assert ends == [*(segment.start for segment in topology.segments), topology.size]
    assert topology.onehot_size in ends and all(end % LANE == 0 for end in ends)
    flat = np.zeros(topology.size, np.float32)
    for segment in topology.segments:
        segment.view(flat)[:] += 1
    arrays = topology.named("best", flat)
    assert {name.removeprefix("best/"): array.shape for name, array in arrays.items()} == topology.array_shapes
    assert all((array == 1).all() for array in arrays.values())
    assert flat.sum() == sum(array.size for array in arrays.values())


@pytest.mark.parametrize("kind", TOPOLOGIES, ids=str)
def test_a_file_has_all_and_gives_all_back(kind):
    topology = topology_of(**kind)
    flat = remembered(topology, topology.pack(*parameters(topology)))
    arrays = topology.named("best", flat)
    n_layers, n_hidden = len(topology.units), len(topology.hidden)
    names = [f"best/{part}/{k}" for part in ("weights", "biases") for k in range(n_layers)]
    names += [f"best/means/{k}" for k in range(n_hidden)] if topology.has_means else []
    assert sorted(arrays) == sorted(names)
    assert [arrays[f"best/weights/{k}"].shape for k in range(n_layers)] == topology.shapes
    np.testing.assert_array_equal(topology.vector("best", arrays), flat)


@pytest.mark.parametrize("part", ["weights", "biases"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_arrays_of_another_network_are_refused(part, layer):
    topology = topology_of()
    arrays = topology.named("best", topology.pack(*parameters(topology)))
    name = f"best/{part}/{layer}"
    with pytest.raises(ValueError, match="shapes"):
        topology.vector("best", arrays | {name: arrays[name][:-1]})
    with pytest.raises(KeyError):
        topology.vector("best", {key: array for key, array in arrays.items() if key != name})


def test_means_of_another_network_are_refused():
    topology = topology_of(has_means=True)
    arrays = topology.named("best", topology.pack(*parameters(topology)))
    with pytest.raises(ValueError, match="shape"):
        topology.vector("best", arrays | {"best/means/0": arrays["best/means/1"]})
    del arrays["best/means/1"]
    with pytest.raises(KeyError):
        topology.vector("best", arrays)


def test_a_file_of_one_channel_is_refused_by_maxout():
    one, two = topology_of("tanh"), topology_of("maxout")
    with pytest.raises(ValueError, match="shapes"):
        two.vector("best", one.named("best", one.pack(*parameters(one))))


def test_maxout_lies_as_in_h2o():
    """Weight i of unit j and channel k, in the flat list at 2 (j inputs + i) + k, is where the kernels look for it."""
    topology = topology_of()
    weights, biases = parameters(topology)
    flat = topology.pack(weights, biases)
    assert topology.shapes == [(10, 10), (36, 5), (2, 18)] and topology.channels == (2, 2, 1)
    dense = flat[topology.onehot_size :]
    for layer, n_onehot in ((0, 7), (1, 0)):
        row = topology.network.layers[layer]
        n, n_in, width = topology.units[layer], topology.shapes[layer][1], topology.widths[layer]
        with_biases = flat if n_onehot else dense
        for unit, channel in np.ndindex(n, 2):
            place = channel * padded(n) + unit
            assert with_biases[row[BIASES] + place] == biases[layer][2 * unit + channel]
            for i in range(n_in):
                expected = weights[layer].ravel()[2 * (unit * n_in + i) + channel]
                if i < n_onehot:
                    assert flat[i * width + place] == expected
                else:
                    start = row[WEIGHTS] + (channel * n + unit) * row[STRIDE]
                    assert dense[start + i - n_onehot] == expected


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_means_lie_in_the_dense_part_where_nothing_else_does(activation):
    topology = topology_of(activation, has_means=True)
    flat = topology.pack(*parameters(topology))
    before = topology.unpack(flat)
    remembered(topology, flat)
    assert_equal(topology.unpack(flat), before)
    assert [len(mean) for mean in topology.means(flat)] == [5, 18]
    for k, mean in enumerate(topology.means(flat)):
        start = topology.network.layers[k, MEANS]
        assert start % LANE == 0
        np.testing.assert_array_equal(flat[topology.onehot_size :][start : start + len(mean)], mean)
        assert np.shares_memory(flat, mean)
    assert topology.network.layers[-1, MEANS] == -1
    assert topology.size == topology_of(activation).size + padded(5) + padded(18)


def test_without_means_there_is_no_room_for_them():
    topology = topology_of()
    assert (topology.network.layers[:, MEANS] == -1).all()
    assert topology.means(topology.pack(*parameters(topology))) == []


def test_dropout_says_how_many_units_are_kept():
    np.testing.assert_array_equal(topology_of().network.kept, [1, 1, 1])
    topology = topology_of(dropout=(0.5, 0.0))
    np.testing.assert_array_equal(topology.network.kept, [0.5, 1, 1])  # the output is never dropped
    assert topology.network.kept.dtype == np.float32
    assert topology.size == topology_of().size
