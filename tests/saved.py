"""A small table, and files of what was trained on it in which something has been changed."""

from __future__ import annotations

import numpy as np
from tables import UNSCORED, make_table

from dask_dl.checkpoint import read_archive, write_archive

TABLE = make_table(120, seed=4, labels=("q", "p"))[["a", "level", "label", "y"]].set_axis(list("abyz"), axis=1)
SETTINGS = UNSCORED | {"hidden": (5, 3), "epochs": 2, "random_state": 7, "n_jobs": 1}


def spoiled(sound, path, kind, spoil):
    """Write a file anew in which `spoil(arrays, document)` has changed something."""
    arrays, document = read_archive(sound, kind=kind)
    spoil(arrays, document)
    write_archive(path, arrays, document, kind=kind)
    return path


def put(*keys, value):
    """A change of the value at these keys of a document."""

    def change(arrays, document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


def drop(*keys):
    def change(arrays, document):
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return change


def without(prefix):
    def change(arrays, document):
        for name in [name for name in arrays if name.startswith(prefix)]:
            del arrays[name]

    return change


def array(name, change):
    def spoil(arrays, document):
        arrays[name] = np.asarray(change(arrays[name]))

    return spoil


def at(place, value):
    def change(array):
        array.reshape(-1)[place] = value
        return array

    return change
