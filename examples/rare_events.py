"""Find rare events in a table like those of credit cards, out of core: an autoencoder beside IsolationForest and PCA.

python examples/rare_events.py [ROWS]        100,000 by default

The table is made: 28 numbers and an amount follow from five hidden numbers, and so does one of eight merchants. Of 10,000
rows 17 are rare events. One half of them have columns that are each as usual, but do not belong together; in the other half
three columns are off by two standard deviations. All three learn without knowing which; a table of a tenth of the rows, which
none has seen, is judged.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dask.dataframe as dd
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dask_dl import DeepLearningAutoEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

N_HIDDEN, N_COLUMNS, N_MERCHANTS, SHARE = 5, 28, 8, 0.0017
ROWS_PER_FILE = 100_000
N_FITTED = 100_000  #: rows that the rivals, which take no larger tables than memory, are fitted on


def rows_from(hidden: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Columns (n, 28 + amount + merchant) of hidden numbers (n, 5), by functions that are the same for every file."""
    of_all = np.random.default_rng(0)
    bends = np.tanh(1.5 * hidden @ of_all.normal(size=(N_HIDDEN, 20)))
    numbers = bends @ of_all.normal(size=(20, N_COLUMNS)) / 4 + 0.2 * random.normal(size=(len(hidden), N_COLUMNS))
    amount = np.exp(3 + hidden @ of_all.normal(size=N_HIDDEN) / 2 + 0.2 * random.normal(size=len(hidden)))
    merchant = (hidden @ of_all.normal(size=(N_HIDDEN, N_MERCHANTS))).argmax(axis=1)
    return np.column_stack([numbers, amount, merchant])


def table_of(k: int, n: int) -> pd.DataFrame:
    """Rows of file k; `rare` says which are rare events."""
    random = np.random.default_rng((1, k))
    rows, rare = rows_from(random.normal(size=(n, N_HIDDEN)), random), random.random(n) < SHARE
    strange, shifted = np.array_split(np.flatnonzero(rare), 2)
    for column in range(rows.shape[1]):
        rows[strange, column] = rows[random.integers(n, size=len(strange)), column]
    for row in shifted:
        columns = random.choice(N_COLUMNS, 3, replace=False)
        rows[row, columns] += random.choice([-2, 2], 3) * rows[:, columns].std(axis=0)
    table = pd.DataFrame(rows[:, :-1].astype(np.float32), columns=[*(f"v{j + 1}" for j in range(N_COLUMNS)), "amount"])
    return table.assign(merchant=[f"merchant {int(m)}" for m in rows[:, -1]], rare=rare)


def write_tables(folder: Path, n_rows: int) -> tuple[Path, Path]:
    """A table in files, and another one of a tenth of its rows."""
    written = []
    for name, first, n in (("train", 0, n_rows), ("test", 10**6, n_rows // 10)):
        (folder / name).mkdir()
        for k, lo in enumerate(range(0, n, ROWS_PER_FILE)):
            table_of(first + k, min(ROWS_PER_FILE, n - lo)).to_parquet(folder / name / f"{k:04}.parquet")
        written.append(folder / name)
    return written[0], written[1]


def autoencoder(train: dd.DataFrame, test: dd.DataFrame) -> np.ndarray:
    model = DeepLearningAutoEncoder(
        hidden=(50, N_HIDDEN, 50), activation="tanh", output_activation="linear",
        epochs=3, mini_batch_size=32, storage="disk", random_state=1, verbose=True,
    )  # fmt: skip
    return model.fit(train).anomaly(test).compute().to_numpy()


def encoder() -> object:
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["merchant"]), remainder=StandardScaler()
    )


def isolation_forest(train: dd.DataFrame, test: dd.DataFrame) -> np.ndarray:
    forest = make_pipeline(encoder(), IsolationForest(random_state=1)).fit(first_rows(train))
    return -forest.score_samples(test.compute())


def pca(train: dd.DataFrame, test: dd.DataFrame) -> np.ndarray:
    encode = encoder()
    fitted = PCA(N_HIDDEN).fit(encode.fit_transform(first_rows(train)))
    rows = encode.transform(test.compute())
    return np.square(rows - fitted.inverse_transform(fitted.transform(rows))).mean(axis=1)


def first_rows(table: dd.DataFrame) -> pd.DataFrame:
    return table.head(N_FITTED, npartitions=-1)


def main() -> None:
    n_rows = int(sys.argv[1].replace(",", "").replace("_", "")) if len(sys.argv) > 1 else 100_000
    rivals: tuple[Callable[..., np.ndarray], ...] = (autoencoder, isolation_forest, pca)
    with tempfile.TemporaryDirectory() as folder:
        train, test = map(dd.read_parquet, write_tables(Path(folder), n_rows))
        rare = test["rare"].compute()
        for find in rivals:
            began = time.perf_counter()
            errors = find(train.drop(columns="rare"), test.drop(columns="rare"))
            found = roc_auc_score(rare, errors), average_precision_score(rare, errors)
            line = f"{find.__name__:<17}AUC {found[0]:.4f}, average precision {found[1]:.3f}"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{line}, {time.perf_counter() - began:.0f} s, peak of the process so far {peak:.1f} GiB", flush=True)
    print(f"{n_rows:,} rows to learn, {len(rare):,} to judge with {rare.sum():,} rare events")


if __name__ == "__main__":
    main()
