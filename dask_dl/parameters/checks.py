"""Checks of parameters, and their values in effect."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal

from dask_dl.errors import ParameterError
from dask_dl.metrics.table import loss_of
from dask_dl.parameters.kinds import (
    joined,
    plain,
    show,
)
from dask_dl.parameters.rules import CONFLICTS, LOSSES_OF, NO_EFFECT
from dask_dl.parameters.table import PREPARED, TABLE, Scope, Task
from dask_dl.synonyms import SYNONYMS, VALUE, WORDS, Advice, GivenValue, fold
from dask_dl.wording import closest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def constructor_defaults() -> dict[str, Any]:
    """Names and defaults of the estimators' constructors, in order."""
    return {name: row.default for name, row in TABLE.items() if row.scope == "constructor"}


def _with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.default for name, row in TABLE.items() if not row.same_as} | dict(values)


def _settings(names: Sequence[str], values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={show(values[name])}" for name in names)


def validate(given: Mapping[str, Any], *, task: Task | None, n_classes: int | None = None) -> dict[str, Any]:
    """
    Complete and canonical parameters, or every mistake at once.

    Parameters
    ----------
    given : mapping
        Parameters and arguments of fit by name; stays as it is.
    task : {"classification", "regression", "autoencoder"} or None
        None, while it is not known, leaves out the rules that depend on it.
    n_classes : int or None
        Number of classes, once known.

    Returns
    -------
    dict
        All parameters of the constructors and whatever else was given: words in lower case with underscores, numbers
        and flags as Python's own, lists as tuples, other names (seed) under the name they stand for.

    Raises
    ------
    ParameterError
        First what is never legal, then what is legal but not available yet.
    """
    mistakes = []
    read, wrong = {}, set()
    for name, value in given.items():
        row = TABLE.get(name)
        if row is None:
            wrong.add(name)
            mistakes.append(f"{_settings([name], given)}: {_instead(name, value)}")
            continue
        if row.same_as in given:
            mistakes.append(f"{_settings([name, row.same_as], given)}: two names of one thing; leave out one of them")
        try:
            read[row.same_as or name] = row.read(value)
        except (ValueError, OverflowError) as error:
            wrong.add(row.same_as or name)
            legal = f"must be {row.allowed} (default {show(row.default)})"
            word = _foreign_word(name, value)
            mistakes.append(joined(f"{_settings([name], given)}: {legal}", ValueError(word) if word else error))

    values = _with_defaults(read)
    p = SimpleNamespace(**{**given, **values, "task": task, "n_classes": n_classes})
    mistakes += [
        f"{_settings(rule.names, values)}: {rule.text}"
        for rule in CONFLICTS
        if wrong.isdisjoint(rule.names) and rule.applies(p)
    ]
    mistakes += [
        f"{_settings([name], values)}: not available yet: today only {TABLE[name].today}"
        for name, value in values.items()
        if name not in wrong and not TABLE[name].is_available(value)
    ]
    refuse(mistakes)
    return {name: value for name, value in values.items() if name in read or TABLE[name].scope == "constructor"}


def refuse_names(unknown: Mapping[str, Any], scope: Literal["constructor", "fit"]) -> None:
    """Refuse names that the constructor, or fit, does not take, if any, and say what to write. Raises ParameterError."""
    refuse([f"{_settings([name], unknown)}: {_instead(name, value, scope)}" for name, value in unknown.items()])


def refuse(mistakes: Sequence[str]) -> None:
    """Raise ParameterError for all mistakes at once, if there are any."""
    if mistakes:
        title = f"{len(mistakes)} mistake{'s' * (len(mistakes) > 1)} in the parameters:"
        error = ParameterError("\n".join([title, *(f"  {i}. {line}" for i, line in enumerate(mistakes, 1))]))
        error.mistakes = tuple(mistakes)
        raise error


#: Where a parameter belongs, in words.
_SCOPES: Final = {"constructor": "the constructor", "fit": "fit"}


def _instead(name: str, value: Any, scope: Scope | None = None) -> str:
    """Advice on a name that is no parameter of a place."""
    if name in TABLE and TABLE[name].scope in _SCOPES:
        shown = _adopted(name, VALUE, value)
        return f"not a parameter of {_SCOPES[scope or 'fit']}; write {name}={shown} in {_SCOPES[TABLE[name].scope]}"
    word = fold(name.rpartition("__")[2] or name)  # optimizer__lr: of parts of other libraries
    synonym = SYNONYMS.get(word)
    if synonym:
        return f"no such parameter; {_advised(synonym.advice_for(plain(value)), value, scope)}"
    known = {fold(word): word for word, row in TABLE.items() if row.scope in _SCOPES}
    near = closest(word, [*known, *SYNONYMS], cutoff=0.8) or closest(word, known)
    if near and near not in known:
        synonym = SYNONYMS[near]
        known_name = next(name for name in synonym.names if fold(name) == near)
        advice = _advised(synonym.advice_for(plain(value)), value, scope)
        return f'no such parameter; if "{known_name}" is meant, {advice}'
    if near:
        other = TABLE[known[near]].scope
        where = f" of {_SCOPES[other]}" if scope not in (None, other) else ""
        return f'no such parameter; did you mean "{known[near]}"{where}?'
    far = closest(word, known, cutoff=0)
    assert far is not None  # any word will do
    return f'no such parameter; the nearest is "{known[far]}"; if it is not meant, leave it out'


def _advised(advice: Advice, value: Any, scope: Scope | None) -> str:
    """Return an advice in words, with the value that was given."""
    homes = {TABLE[name].scope for name in advice.write}
    where = "".join(f" in {_SCOPES[home]}" for home in homes if scope not in (None, home))
    return advice.text({name: _adopted(name, wanted, value) for name, wanted in advice.write.items()}, where)


def _adopted(name: str, wanted: Any, value: Any) -> str:
    """Value that a parameter is to be set to, as text; dots where that has to be found by the user."""
    row = TABLE[name]
    if isinstance(wanted, GivenValue):
        wanted = wanted.of(plain(value))
        if isinstance(wanted, str):
            wanted = WORDS.get(name, {}).get(fold(wanted), wanted)
    try:
        shown = show(wanted) if row.is_available(row.read(wanted)) else f"... (today {row.today})"
    except (ValueError, OverflowError):
        return f"... ({row.allowed if row.today == 'all' else row.today})"
    return "..." if shown.startswith("<") else shown


def _foreign_word(name: str, value: Any) -> str:
    """Advice on a word of another library, if there is any."""
    word = WORDS.get(name, {}).get(fold(value), "") if isinstance(value, str) else ""
    return word if " " in word or not word else f"write {show(word)}"


def outputs_of(parameters: Mapping[str, Any]) -> str:
    """`output_activation` of an autoencoder as it is in effect: outputs that reach all that numbers can be."""
    if parameters["output_activation"] != "auto":
        return str(parameters["output_activation"])
    return "same" if parameters["activation"].startswith("tanh") else "linear"


def prepared(parameters: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Parameters that decide how rows are encoded, which a prepared table and its trainings have in common."""
    found = {name: parameters[name] for name in PREPARED}
    return found | ({"output_activation": outputs_of(parameters)} if task == "autoencoder" else {})


def effective(parameters: Mapping[str, Any], *, task: Task, n_classes: int | None = None) -> dict[str, Any]:
    """
    Replace automatic choices by what they became (algorithm.md#automatic-choices).

    Parameters
    ----------
    parameters : mapping
        As `validate` returns them.
    task : {"classification", "regression", "autoencoder"}
        What is learned.
    n_classes : int or None
        Number of classes; needed for classification.

    Returns
    -------
    dict
        The same parameters. What depends on the machine stays as it is, a random_state of None too.
    """
    e = dict(parameters)
    if e["distribution"] == "auto" and task == "classification":
        assert n_classes is not None, "the distribution of classes depends on their number"
        e["distribution"] = "bernoulli" if n_classes == 2 else "multinomial"
    elif e["distribution"] == "auto":
        families = {"absolute": "laplace", "quantile": "quantile", "huber": "huber"}
        e["distribution"] = families.get(e["loss"], "gaussian")
    if e["loss"] == "automatic" and LOSSES_OF[e["distribution"]]:
        e["loss"] = LOSSES_OF[e["distribution"]][0]

    if e["hidden_dropout_ratios"] is None:
        e["hidden_dropout_ratios"] = (0.5 if e["activation"].endswith("_with_dropout") else 0.0,) * len(e["hidden"])
    if e["categorical_encoding"] == "auto":
        e["categorical_encoding"] = "one_hot_internal"
    if task == "autoencoder":
        e |= {"use_all_factor_levels": True, "output_activation": outputs_of(e)}

    if e["reproducible"]:  # nothing may depend on the clock or on the number of threads
        e |= {"force_load_balance": True, "score_each_iteration": True, "replicate_training_data": False}
        if e["train_samples_per_iteration"] == -2:
            e["train_samples_per_iteration"] = -1

    if e["stopping_metric"] == "auto":
        e["stopping_metric"] = loss_of(task)
    if e["nfolds"]:
        e["overwrite_with_best_model"] = False  # the model of all rows holds none out to be judged by
        if e["fold_assignment"] == "auto":
            e["fold_assignment"] = "random"
    return e


def warnings_for(parameters: Mapping[str, Any]) -> list[str]:
    """List what was changed from its default and has no effect; `parameters` are as `validate` returns them."""
    values = _with_defaults(parameters)
    p = SimpleNamespace(**values)
    return [
        f"{_settings([name], values)} has no effect: {rule.text}"
        for rule in NO_EFFECT
        if rule.applies(p)
        for name in rule.names
        if not TABLE[name].is_default(values[name])
    ]
