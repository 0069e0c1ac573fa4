"""Any combination of the parameters of network, tables, objective, optimiser and regularisation trains, or says why not."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import UNSCORED, make_table

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import DaskDLWarning, DivergedError, ParameterError
from dask_dl.parameters import CONFLICTS, TABLE

N = 40
GROUPS = ("Network and initial state", "Data preparation", "Objective", "Optimiser", "Regularisation", "Class balance")
#: Not parameters of numbers: arrays and models, which have tests of their own.
ELSEWHERE = {"initial_weights", "initial_biases", "pretrained_autoencoder", "average_activation", "sparsity_beta"}
#: Of parameters without an upper end, and the size of a tiny network.
VALUES = {
    "hidden": st.lists(st.integers(1, 20), max_size=3),
    "hidden_dropout_ratios": st.none() | st.lists(st.sampled_from([0.0, 0.2, 0.9]), max_size=3),
    "initial_weight_scale": st.sampled_from([0.0, 0.5, 10.0]),
    "epochs": st.sampled_from([0.0, 0.3, 2.0, 3.7]),
    "train_samples_per_iteration": st.sampled_from([-2, -1, 0, 1, 17, 1000]),
    "target_ratio_comm_to_comp": st.sampled_from([0.01, 0.05, 1.0]),
    "epsilon": st.sampled_from([1e-10, 1e-8, 1e-3]),
    "rate": st.sampled_from([0.0, 1e-3, 0.5, 50.0]),
    "rate_annealing": st.sampled_from([0.0, 1e-6, 0.1]),
    "rate_decay": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    "momentum_ramp": st.sampled_from([0.0, 10.0, 1e6]),
    "mini_batch_size": st.sampled_from([1, 1, 2, 7, 40, 64]),
    "l1": st.sampled_from([0.0, 1e-3, 1.0]),
    "l2": st.sampled_from([0.0, 1e-3, 1.0]),
    "max_w2": st.sampled_from([0.1, 10.0, 3.4028235e38]),
    "max_categorical_features": st.sampled_from([1, 3, 2**31 - 1]),
    "class_sampling_factors": st.none() | st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=2, max_size=3),
    "max_after_balance_size": st.sampled_from([1e-9, 0.5, 5.0]),
    "elastic_averaging_regularization": st.sampled_from([0.0, 1e-3]),
}
SHARES = st.sampled_from([0.0, 0.1, 0.5, 0.99])


def strategy(row):
    """Legal values of a parameter, in itself."""
    if row.name in VALUES:
        return VALUES[row.name]
    if isinstance(row.default, bool):
        return st.booleans()
    if isinstance(row.default, str):
        return st.sampled_from(row.kind.text.strip("{}").replace('"', "").split(", "))
    return SHARES.filter(lambda value: _is_legal(row, value))


def _is_legal(row, value):
    try:
        row.read(value)
    except ValueError:
        return False
    return True


ROWS = [row for row in TABLE.values() if row.group in GROUPS and row.name not in ELSEWHERE]


@st.composite
def options(draw):
    """Some parameters of every group, the others as they are."""
    chosen = draw(st.lists(st.sampled_from(ROWS), min_size=1, max_size=8, unique_by=lambda row: row.name))
    return {row.name: draw(strategy(row)) for row in chosen}


TABLE = make_table(N, seed=5, gaps=0.15, labels=("no", "yes", "perhaps")).drop(columns=["d", "e"])
TABLE_OF_ROWS = TABLE.rename(columns={"c": "o"}).assign(y=np.exp(TABLE["y"] / 4), o=TABLE["c"] / 10)


#: Estimators by the column of their target.
KINDS = {"label": DeepLearningClassifier, "y": DeepLearningRegressor, None: DeepLearningAutoEncoder}


def attempt(chosen, target, weighted, has_offset):
    """Why it does not train: in words of the package; None when it does."""
    kind, frame = KINDS[target], TABLE_OF_ROWS.drop(columns=[name for name in ("y", "label") if name != target])
    parts = {"sample_weight": "w"} if weighted else {}
    if has_offset and target == "y":
        parts["offset"] = "o"
    model = kind(random_state=3, **UNSCORED | {"epochs": 1.0, "hidden": [8], **chosen})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DaskDLWarning)
        try:
            model.fit(frame, target, **parts)
        except (ParameterError, DivergedError) as error:
            why = error
        else:
            why = None
        if hasattr(model, "model_"):  # what was sound before a divergence stays usable
            assert all(np.isfinite(part).all() for part in (*model.coefs_, *model.intercepts_))
            if target == "y":
                answers = model.predict(frame, offset=parts.get("offset"))
            else:
                answers = model.predict_proba(frame) if target else model.reconstruct(frame)
            assert len(answers) == N and np.isfinite(np.asarray(answers)).all()
    return why


def test_any_combination_trains_or_says_why_not():
    outcomes = Counter()

    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(options(), st.sampled_from([*KINDS]), st.booleans(), st.booleans())
    def one(chosen, target, weighted, has_offset):
        why = attempt(chosen, target, weighted, has_offset)
        outcomes[type(why).__name__] += 1
        if isinstance(why, ParameterError):
            known = [*(rule.text for rule in CONFLICTS), "rows have weights other than 0 and 1", "no row was drawn"]
            assert any(text in str(why) for text in known), why
        elif why is not None:
            assert "Lower" in str(why) or "Start from smaller weights" in str(why)

    one()
    assert outcomes["NoneType"] > 100 and outcomes["ParameterError"] > 10
