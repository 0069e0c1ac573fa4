"""H2O and dask_dl in turn on one machine: rows a second, and error or loss on rows left out, at equal threads and epochs.

H2O runs in a Java process of its own with as many threads (`pip install -e '.[rivals]'` brings its wheel; Java 8 to 17 has to
be there). Both learn row by row with ADADELTA, keep the last network and score only at the end. Speeds are the rows of the
training over its seconds, as both measure them themselves, without reading and scoring. MNIST, digits of the demo without
real tables; and four real tables with [64, 64], ten epochs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table, real_tables
from quality import Problem, predict
from real import TABLES, Split
from rows import read_digits

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Case(NamedTuple):
    """A network on a table."""

    name: str
    problem: Problem
    given: Mapping[str, Any]  #: as both call it
    n_rows: int | None = None  #: that train; None: all
    wanted: float | None = None  #: times H2O's rows a second, at least

    @property
    def train(self) -> pd.DataFrame:
        """The rows that train."""
        return self.problem.split.train[: self.n_rows]


class Result(NamedTuple):
    """What came of one training."""

    speed: float  #: rows/s
    seconds: float  #: of the whole call
    loss: float
    error: float  #: share of test rows that are misclassified; NaN of numbers


DROPOUT = {"activation": "rectifier_with_dropout", "input_dropout_ratio": 0.2}
ONCE = {"score_duty_cycle": 0.0}


def cases(folder: Path | None, quick: bool) -> list[Case]:
    name, train, test = read_digits()
    digits = Problem(Split(train, train[:0], test), "digit")
    epochs, few = (0.2, 0.05) if quick else (5, 1)
    found = [
        Case(f"{name} [200, 200]", digits, {"hidden": [200, 200], "epochs": epochs}, wanted=35),
        Case(f"{name} [50, 50]", digits, {"hidden": [50, 50], "epochs": epochs}, wanted=20),
        Case(
            f"{name} [1024, 1024, 2048], dropout",
            digits,
            {"hidden": [1024, 1024, 2048], "epochs": few, **DROPOUT},
            2_000,
            12,
        ),
    ]
    for table in ("adult", "airlines", "covtype", "housing") if folder and not quick else ():
        rows, target = TABLES[table](folder)
        problem = Problem(Split.of(rows, has_validation=False), target)
        found.append(Case(f"{table} [64, 64]", problem, {"hidden": [64, 64], "epochs": 10}))
    return found


def judged(problem: Problem, answer: Any) -> tuple[float, float]:
    """(loss, error) of predictions of the test rows."""
    if not problem.is_class:
        return problem.loss(answer), float("nan")
    labels = np.array(problem.classes)[np.asarray(answer).argmax(axis=1)]
    return problem.loss(answer), float((labels != problem.split.test[problem.target].to_numpy()).mean())


def ours(case: Case, seed: int, n_threads: int) -> Result:
    estimator = DeepLearningClassifier if case.problem.is_class else DeepLearningRegressor
    model = estimator(**case.given, random_state=seed, n_jobs=n_threads, **ONCE, **ALL_EPOCHS)
    began = time.perf_counter()
    model.fit(case.train, case.problem.target)
    seconds = time.perf_counter() - began
    answer = predict(model, case.problem.split.test.drop(columns=case.problem.target))
    return Result(model.history_["training_speed"].iloc[-1], seconds, *judged(case.problem, answer))


def theirs(case: Case, frames: Callable[[pd.DataFrame, str], Any], seed: int) -> Result:
    from h2o.estimators import H2ODeepLearningEstimator

    target = case.problem.target
    train, test = frames(case.train, target), frames(case.problem.split.test, target)
    model = H2ODeepLearningEstimator(**case.given, seed=seed, variable_importances=False, **ONCE, **ALL_EPOCHS)
    began = time.perf_counter()
    model.train(y=target, training_frame=train)
    seconds = time.perf_counter() - began
    history = model.scoring_history()
    speed = float(str(history["training_speed"].dropna().iloc[-1]).split()[0])
    answer = model.predict(test).as_data_frame()
    answer = answer.iloc[:, 1:] if case.problem.is_class else answer["predict"]
    return Result(speed, seconds, *judged(case.problem, answer.to_numpy()))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="of both (2)")
    arguments = parser.parse_args()
    print_machine("pandas")
    try:
        import h2o
    except ImportError:
        print("H2O is not installed: pip install 'dask_dl[rivals]'")
        return
    seeds = (1,) if arguments.quick else (1, 2, 3)
    lines = []
    with tempfile.TemporaryDirectory() as place:
        h2o.init(nthreads=arguments.threads, max_mem_size="6G", ice_root=place, log_dir=place)
        h2o.no_progress()

        def frames(rows: pd.DataFrame, target: str) -> Any:
            path = Path(place) / "rows.csv"
            rows.to_csv(path, index=False)
            frame = h2o.import_file(str(path))
            if not pd.api.types.is_numeric_dtype(rows[target]):
                frame[target] = frame[target].asfactor()
            return frame

        try:
            for case in cases(real_tables(), arguments.quick):
                mine, other = [], []
                for seed in seeds:  # in turn, so that a busy minute of the machine meets both
                    mine.append(ours(case, seed, arguments.threads))
                    other.append(theirs(case, frames, seed))
                lines.append(line(case, mine, other))
        finally:
            h2o.cluster().shutdown()
    print(f"H2O {h2o.__version__}, {arguments.threads} threads each\n")
    print_table(["case", "rows/s", "H2O", "times", "target", "loss", "H2O", "error, %", "H2O", "seconds", "H2O"], lines)


def line(case: Case, mine: list[Result], other: list[Result]) -> tuple[str, ...]:
    """Medians, and the worst loss and error in brackets."""
    times = [a.speed / b.speed for a, b in zip(mine, other, strict=True)]
    reached = "" if case.wanted is None else f">= {case.wanted:g}: {'yes' if median(times) >= case.wanted else 'NO'}"

    def worst(results: list[Result], name: str, digits: int, scale: float = 1.0) -> str:
        values = [scale * getattr(result, name) for result in results]
        return f"{median(values):.{digits}f} ({max(values):.{digits}f})"

    cells = [
        case.name,
        *(f"{median(r.speed for r in results):,.0f}" for results in (mine, other)),
        f"{median(times):.1f}",
        reached,
    ]
    for name, digits, scale in (("loss", 3, 1.0), ("error", 1, 100.0)):
        cells += [worst(results, name, digits, scale) for results in (mine, other)]
    return (*cells, *(f"{median(r.seconds for r in results):.1f}" for results in (mine, other)))


if __name__ == "__main__":
    main()
