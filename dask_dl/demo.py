"""`dask-dl demo`: make a table of handwritten digits, train on it, and leave a model and two pictures.

It uses nothing but the public face of the package, so it is also its shortest complete example.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

RECIPE = 1  #: raised when the same arguments come to mean other images, so that stored ones are made anew
RECIPE_KEY = b"dask_dl.digits"  #: where the Parquet files keep the arguments they were made with
ROWS_PER_FILE = 2_500

SIDE = 28  #: pixels of an image, in either direction
PITCH = 2.75  #: pixels of an image per pixel of its original: the 8 x 8 of the original fill 22 of the 28
MAX_SHIFT = 2.0  #: pixels of an image, in either direction
MAX_TURN = 12.0  #: degrees
MAX_SCALING = 0.1  #: of height and of width, each by itself

PADDING = 2  #: blank pixels around an original, so that its ink ends before its frame does
FINENESS = 12  #: enlarged pixels per pixel of the original; taking the nearest is then off by 1/24 of one at most


def make_digits(folder: Path, *, n_train: int = 50_000, n_valid: int = 5_000, seed: int = 0) -> tuple[Path, Path]:
    """Make `folder/train` and `folder/valid`: Parquet tables of handwritten digits, 28 x 28 grey values and a label.

    The originals are scikit-learn's 1,797 digits of 8 x 8. They are split, about 80 to 20 within every digit, *before*
    each part is enlarged by small shifts, rotations and scalings: the tables share no original, so the error on the
    second one is that on unknown handwriting.

    Columns: `pixel_0` to `pixel_783`, uint8, row by row from the top left, 0 paper and 255 ink; `digit`, a string,
    because it is a class and no number. Row i of a table follows from `seed` and i, however many rows there are.

    A table made earlier with the same arguments is kept; one appears under its name only when it is complete.

    Parameters
    ----------
    folder : Path
        Folder of the tables.
    n_train, n_valid : int
        Rows of each table, at least 1.
    seed : int
        Seed of the split and of the poses.

    Returns
    -------
    tuple of (Path, Path)
        The folders of the two tables.

    Raises
    ------
    FileExistsError
        When a folder of that name holds anything else.
    ValueError
        When a table is to have no rows.
    """
    train = _make_table(folder / "train", part=0, n=n_train, seed=seed)
    valid = _make_table(folder / "valid", part=1, n=n_valid, seed=seed)
    return train, valid


def run_demo(
    output: Path, *, epochs: float = 5, n_train: int = 50_000, n_valid: int = 5_000, quiet: bool = False
) -> None:
    """Train on digits and leave the tables, the model and, with matplotlib, two pictures in a folder.

    Parameters
    ----------
    output : Path
        The folder.
    epochs : float
        Epochs to train.
    n_train, n_valid : int
        Images to train on, and to validate with.
    quiet : bool
        Whether to print nothing.
    """
    import dask.dataframe as dd

    from dask_dl import DeepLearningClassifier, load

    say: Callable[[str], None] = (lambda _text: None) if quiet else partial(print, flush=True)

    start = time.perf_counter()
    train_path, valid_path = make_digits(output / "digits", n_train=n_train, n_valid=n_valid)
    train, valid = dd.read_parquet(train_path), dd.read_parquet(valid_path)
    seconds = time.perf_counter() - start
    say(f"{n_train:,} images of digits to train on, {n_valid:,} to validate with ({seconds:.1f} s).")

    model = DeepLearningClassifier(
        hidden=(200, 200), epochs=epochs, stopping_rounds=0, random_state=1, verbose=not quiet
    )
    model.fit(train, "digit", eval_set=valid)
    model_path = output / "digits.model.zip"
    model.save(model_path)

    # The model is read back and asked as a user would, so that the figure below is about the file left behind.
    actual = valid["digit"].compute().to_numpy(dtype=str)
    predicted = load(model_path).predict(valid).compute().to_numpy(dtype=str)
    error = float((predicted != actual).mean())
    say(f"\n{error:.2%} of the {n_valid:,} validation images are misread; none of their originals was trained on.")

    say(f"Left in {output}:\n  {model_path.name}  the model, for dask_dl.load\n  digits/  the two tables, in Parquet")
    if importlib.util.find_spec("matplotlib") is None:
        say('  No pictures, as matplotlib is not installed: pip install "dask_dl[plots]".')
        return
    _save_figure(output / "history.png", lambda ax: model.plot_history(ax=ax))
    _save_figure(output / "confusion.png", lambda ax: plot_confusion(ax, actual, predicted))
    say("  history.png  how it learnt\n  confusion.png  which digits it takes for which")


def _make_table(table: Path, *, part: int, n: int, seed: int) -> Path:
    """Write part 0 (train) or 1 (valid) of the digits as Parquet files in the folder `table`, unless it is there."""
    if n < 1:
        raise ValueError(f"{table.name}: {n:,} images were asked for; at least one is needed.")
    recipe = json.dumps({"recipe": RECIPE, "part": part, "n": n, "seed": seed})
    if _stored_recipe(table) == recipe:
        return table

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    originals, labels = split_originals(seed)[part]
    enlarged = enlarge(originals)
    matrices, shifts = draw_poses(n, (seed, part))
    names = [f"pixel_{k}" for k in range(SIDE * SIDE)] + ["digit"]

    partial_table = table.with_name(table.name + ".partial")  # takes its name at the end: whole or not at all
    if partial_table.exists():
        shutil.rmtree(partial_table)
    partial_table.mkdir(parents=True)
    for number, first in enumerate(range(0, n, ROWS_PER_FILE)):
        rows = slice(first, min(n, first + ROWS_PER_FILE))
        which = np.arange(rows.start, rows.stop) % len(originals)  # every original as often as any other
        pixels = draw_images(enlarged, which, matrices[rows], shifts[rows])
        columns = [pa.array(pixel) for pixel in np.ascontiguousarray(pixels.T)]
        columns.append(pa.array([str(label) for label in labels[which]]))
        written = pa.table(columns, names=names).replace_schema_metadata({RECIPE_KEY: recipe})
        pq.write_table(written, partial_table / f"part-{number:05}.parquet", row_group_size=ROWS_PER_FILE)
    if table.exists():
        shutil.rmtree(table)
    return partial_table.rename(table)


def _stored_recipe(table: Path) -> str | None:
    """Read the arguments that the table was made with; None where there is no table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not table.exists():
        return None
    try:
        metadata = pq.read_schema(table / "part-00000.parquet").metadata or {}
    except (OSError, pa.ArrowInvalid):
        metadata = {}
    if RECIPE_KEY not in metadata:  # it would be replaced below: never do that to someone else's files
        raise FileExistsError(f"{table} is there already and is no table of digits. Choose another output folder.")
    return str(metadata[RECIPE_KEY], "utf-8")


def split_originals(seed: int) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Split scikit-learn's digits into training and validation: images (m, 8, 8), 0 to 16, and labels (m,) of each."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, valid, train_labels, valid_labels = train_test_split(
        digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=seed
    )
    return [(train, train_labels), (valid, valid_labels)]


def enlarge(originals: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw originals (m, 8, 8), grey values 0 to 16, smoothly on a finer grid (m, g, g), grey values 0 to 255.

    Cubic splines are linear and work on rows and columns alike: what they make of the unit vectors is a matrix, and
    enlarging an image is multiplying it by that matrix from both sides.
    """
    import numpy as np
    from scipy import ndimage

    padded = np.pad(originals, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    spline = ndimage.zoom(np.eye(padded.shape[1]), (FINENESS, 1), order=3, mode="nearest", grid_mode=True)
    fine = np.empty((len(padded), len(spline), len(spline)), np.uint8)
    for image, drawn in zip(padded, fine, strict=True):
        # Splines ring beside a stroke, by less than the first of the 16 grey levels: without that, paper stays blank.
        drawn[:] = np.clip((spline @ image @ spline.T - 1) * (255 / 15), 0, 255).round()
    return fine


def draw_poses(n: int, seed: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw n poses: shifts (n, 2) in pixels, and matrices (n, 2, 2) from pixels of the image to those of the original.

    Both are in the order row, column.
    """
    import numpy as np

    # Five numbers per image, image by image: pose i is the same whatever n.
    down, right, turn, height, width = np.random.default_rng(seed).uniform(-1, 1, (n, 5)).T
    angle = np.deg2rad(MAX_TURN) * turn
    turns = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sizes = PITCH * (1 + MAX_SCALING * np.array([height, width]))
    matrices = np.moveaxis(turns / sizes[:, None], 2, 0)
    return matrices, MAX_SHIFT * np.stack([down, right], axis=1)


def draw_images(
    enlarged: NDArray[np.uint8], which: NDArray[np.intp], matrices: NDArray[np.float64], shifts: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Look up image i in `enlarged[which[i]]` under pose i, all images at once.

    Parameters
    ----------
    enlarged : (originals, side, side) uint8
        Enlarged originals, framed by paper.
    which : (m,) intp
        Original of each image.
    matrices : (m, 2, 2) float64
        Rotation and scaling of each image: from its pixels to those of the original.
    shifts : (m, 2) float64
        Shift of each image in pixels, down and right.

    Returns
    -------
    (m, 784) uint8
        Grey values, row by row.
    """
    import numpy as np

    grid = enlarged.shape[1]
    from_centre = np.indices((SIDE, SIDE)).reshape(2, -1) - (SIDE - 1) / 2  # (2, 784): row and column of each pixel
    at = matrices @ (from_centre - shifts[:, :, None])  # (m, 2, 784): pixels of the original, from its centre
    at = np.clip(at * FINENESS + grid / 2, 0, grid - 1).astype(np.intp)  # beyond the padded frame lies more paper
    found: NDArray[np.uint8] = enlarged[which[:, None], at[:, 0], at[:, 1]]
    return found


def plot_confusion(ax: Any, actual: NDArray[np.str_], predicted: NDArray[np.str_]) -> None:
    """Draw how many images of each digit were taken for which digit."""
    import numpy as np
    from matplotlib.colors import PowerNorm
    from sklearn.metrics import confusion_matrix

    digits = [str(digit) for digit in range(10)]
    counts = confusion_matrix(actual, predicted, labels=digits)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # a root: a share of 1 % is to be seen beside 99 %
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.3 else "black"
            ax.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)
    ax.set_xticks(range(10), digits)
    ax.set_yticks(range(10), digits)
    ax.set_xlabel("digit predicted")
    ax.set_ylabel("digit written")
    n_wrong = int((actual != predicted).sum())
    ax.set_title(f"{n_wrong:,} of {len(actual):,} images misread ({n_wrong / len(actual):.2%})")


def _save_figure(path: Path, draw: Callable[[Any], object]) -> None:
    from matplotlib.figure import Figure  # not pyplot: it would look for a display and keep the figure alive

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    draw(figure.subplots())
    figure.savefig(path, dpi=150)
