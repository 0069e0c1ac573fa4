"""Documentation of the parameters, written from their table."""

from __future__ import annotations

import textwrap

from dask_dl.parameters.kinds import (
    show,
)
from dask_dl.parameters.rules import CONFLICTS, NO_EFFECT
from dask_dl.parameters.table import RESTART, SECTIONS, TABLE
from dask_dl.synonyms import SYNONYMS, GivenValue


def numpydoc() -> str:
    """Write the "Parameters" section of the constructors' docstrings."""
    lines = ["Parameters", "----------"]
    for row in TABLE.values():
        if row.scope == "constructor":
            limits = "" if row.available == "all" else f" Available today: {row.today}."
            lines += [f"{row.name} : {row.allowed}, default={show(row.default)}"]
            lines += textwrap.wrap(row.doc + limits, 110, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def document() -> str:
    """Write docs/reference/parameters.md."""
    lines = [
        "# Parameters",
        "",
        "Names, meanings and defaults are those of H2O Deep Learning, except that `shuffle_training_data` is on and",
        "`replicate_training_data` is off. Words ignore case and underscores: `RectifierWithDropout` is",
        "`rectifier_with_dropout`. All mistakes are named at once, before any work begins.",
        "",
        "*Today* lists the values that are accepted; other legal ones are refused as not available yet.",
        "",
        "*Restart* tells what becomes of a changed value when a training goes on from `checkpoint`:",
        "",
        *(f"- {word}: {meaning}" for word, meaning in RESTART.items()),
    ]
    for group, _, rows in SECTIONS:
        lines += ["", f"## {group}", "", "| Name | Allowed | Default | Meaning | Today | Restart |", "|---" * 6 + "|"]
        for row in (TABLE[name] for name, *_ in rows):
            cells = (f"`{row.name}`", row.allowed, f"`{show(row.default)}`", row.doc, row.today, row.restart)
            lines += [f"| {' | '.join(cells)} |"]
    lines += ["", "## Names of other libraries", ""]
    lines += [
        "Names that are no parameter here are refused, and answered with what to write; `v` is the value given.",
        "",
    ]
    lines += ["| Name | Write |", "|---|---|"]
    for synonym in {synonym.names: synonym for synonym in SYNONYMS.values()}.values():
        write = synonym.advice.write
        values = {name: str(value) if isinstance(value, GivenValue) else show(value) for name, value in write.items()}
        text = synonym.advice.text({name: "..." if value[0] == "<" else value for name, value in values.items()})
        lines += [f"| {', '.join(f'`{name}`' for name in synonym.names)} | {text} |"]
    for title, rules in (("What does not go together", CONFLICTS), ("What has no effect by itself", NO_EFFECT)):
        lines += ["", f"## {title}", ""]
        for rule in rules:
            text = f"- {', '.join(f'`{name}`' for name in rule.names)}: {rule.text}"
            lines += textwrap.wrap(text, 120, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([*lines, ""])
