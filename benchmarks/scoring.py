"""Does early stopping come too soon? Held-out loss by how often is scored, and what counts as a value of the stopping rule.

Three real tables (`real.py`), a tenth of the training rows for validation, [200, 200], one thread: median of the seeds, the
worst in brackets, and the epochs trained. The rules of the package stand beside every scoring as a value, as in H2O, after as
many rows as one thread trains in about 5 and 0.2 seconds; and beside no stopping, with the best network kept, by the same
and by more frequent scorings: the difference of these two is what choosing among more networks brings.
"""

from __future__ import annotations

import warnings
from statistics import median

from common import options, print_machine, print_table, real_tables
from quality import Problem, predict
from real import TABLES, Split

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

EPOCHS = {"adult": 30, "covtype": 100, "housing": 100}
HIDDEN = (200, 200)
OFTEN, SELDOM = 6_000, 150_000  #: rows, about 0.2 and 5 seconds
EACH = {"score_each_iteration": True, "train_samples_per_iteration": OFTEN}
RULES = {
    "the package's rules": {},
    "its scorings, no stopping": {"stopping_rounds": 0},
    f"each of {SELDOM:,} rows": EACH | {"train_samples_per_iteration": SELDOM},
    f"each of {OFTEN:,} rows": EACH,
    f"each of {OFTEN:,} rows, no stopping": EACH | {"stopping_rounds": 0},
}


def run(problem: Problem, epochs: int, seed: int, given: dict[str, object]) -> tuple[float, float]:
    """(held-out loss, epochs trained)."""
    estimator = DeepLearningClassifier if problem.is_class else DeepLearningRegressor
    model = estimator(hidden=HIDDEN, epochs=epochs, random_state=seed, n_jobs=1, **given)
    model.fit(problem.split.train, problem.target, eval_set=problem.split.valid)
    loss = problem.loss(predict(model, problem.split.test.drop(columns=problem.target)))
    return loss, float(model.history_["epochs"].max())


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tables", nargs="+", choices=EPOCHS, default=list(EPOCHS), help="which ones (all)")
    arguments = parser.parse_args()
    print_machine("pandas")
    folder = real_tables()
    if folder is None:
        return
    warnings.simplefilter("ignore")
    seeds = range(1 if arguments.quick else 5)
    lines = []
    for name in arguments.tables:
        epochs = EPOCHS[name]
        rows, target = TABLES[name](folder)
        problem = Problem(Split.of(rows, has_validation=True), target)
        cells = [f"{name}, {1 if arguments.quick else epochs}"]
        for given in RULES.values():
            found = [run(problem, 1 if arguments.quick else epochs, seed, given) for seed in seeds]
            losses, trained = zip(*found, strict=True)
            cells.append(f"{median(losses):.3f} ({max(losses):.3f}), {median(trained):.0f}")
        lines.append(cells)
    print_table(["table, epochs asked for", *RULES], lines)


if __name__ == "__main__":
    main()
