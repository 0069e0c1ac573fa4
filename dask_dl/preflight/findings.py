"""Findings of a check, and the report that holds them."""

from __future__ import annotations

import contextlib
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

from dask_dl import parameters
from dask_dl.errors import DaskDLError, DaskDLWarning, ParameterError, warn
from dask_dl.events import Listeners, Warned
from dask_dl.frame.faults import Fault, found_and_remedy
from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

    from dask_dl.events import Listener

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

_PARAMETER = re.compile(r"(\w+)(?:\[\d+\])?(?:=|: | has | holds )")
_PARTITION = re.compile(r"\bpartition (\d+)\b")
_COLUMN = re.compile(r"\b(?:column|target|weight|offset) '([^']*)'")


@dataclass(frozen=True)
class Finding:
    """Something that a check found."""

    #: an "error", for which training would raise; a "warning", as it would give or for what is hardly meant; or a "note"
    level: Level
    text: str  #: what was found; of an error and a warning in the words of the training
    remedy: str = ""  #: what to do about it
    host: str | None = None
    partition: int | None = None  #: the first, where several are meant
    column: str | None = None
    parameter: str | None = None

    @property
    def where(self) -> str:
        """Place of the finding, in words; empty where it has none."""
        names = ("host", "partition", "column", "parameter")
        return ", ".join(f"{name} {value}" for name in names if (value := getattr(self, name)) is not None)


class CheckReport:
    """Findings of a check, errors first.

    Parameters
    ----------
    findings : sequence of Finding
        In the order in which they were found.
    """

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))

    @property
    def ok(self) -> bool:
        """Whether there is no error, so that `fit` would begin to train."""
        return not self.of("error")

    def of(self, *levels: Level) -> list[Finding]:
        """Findings of some levels."""
        return [finding for finding in self.findings if finding.level in levels]

    def to_pandas(self) -> pd.DataFrame:
        """Findings as a frame, one row each, with the fields of a `Finding` as columns."""
        import pandas as pd

        names = [item.name for item in fields(Finding)]
        frame = pd.DataFrame([asdict(finding) for finding in self.findings], columns=names)
        return frame.astype({"partition": "Int64"})

    def text(self, *levels: Level) -> str:
        """Findings of some levels, by default all, for a terminal: a paragraph each, the remedy indented."""
        shown = self.of(*(levels or LEVELS))
        lines = []
        for finding in shown:
            host = f" (host {finding.host})" if finding.host and finding.host not in finding.text else ""
            lines += [f"{finding.level:8} {line}" if not k else f"{'':8} {line}" for k, line in
                      enumerate((finding.text + host).splitlines())]  # fmt: skip
            lines += [f"{'':8} {line}" for line in finding.remedy.splitlines()]
        return "\n".join([*lines, self.summary])

    @property
    def summary(self) -> str:
        """Numbers of findings, in words."""
        counts = {level: len(self.of(level)) for level in LEVELS}
        return ", ".join(f"{n} {level}{'s' * (n != 1)}" for level, n in counts.items())

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """Findings as a table for a notebook."""
        from dask_dl.show.findings import findings_html

        return findings_html(self.summary, [(f.level, f.where, f.text, f.remedy) for f in self.findings])


class Collector:
    """Takes findings, and makes them of what a training raises and warns of."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.where: dict[str, Any] = {}  #: place of what is being tried, as far as it is known

    @contextlib.contextmanager
    def apart(self) -> Iterator[list[Finding]]:
        """Context whose findings are kept apart: it gives their list."""
        others, self.findings = self.findings, []
        try:
            yield self.findings
        finally:
            self.findings = others

    def warn(self, message: str | Warning) -> None:
        """Take a warning of the package; other warnings go on to the user. See `errors.Warn`."""
        if isinstance(message, Warning) and not isinstance(message, DaskDLWarning):
            warn(message)
        else:
            self.words("warning", str(message), **self.where)

    def add(self, level: Level, text: str, remedy: str = "", **where: Any) -> None:
        """Take a finding.

        Parameters
        ----------
        level : {"error", "warning", "note"}
            How bad it is.
        text : str
            What was found.
        remedy : str
            What to do about it.
        **where : str or int
            Host, partition, column or parameter.
        """
        self.findings.append(Finding(level, text, remedy, **where))

    def words(self, level: Level, text: str, **where: Any) -> None:
        """Take a finding in the words of an error or a warning; they say where it is as far as that is not given.

        Parameters
        ----------
        level : {"error", "warning", "note"}
            How bad it is.
        text : str
            The words, whose first sentence says what was found.
        **where : str or int
            Host, partition, column or parameter.
        """
        if (partition := _PARTITION.search(text)) and "partition" not in where:
            where["partition"] = int(partition[1])
        if (column := _COLUMN.search(text)) and "column" not in where:
            where["column"] = column[1]
        parameter = _PARAMETER.match(text)
        if parameter and "parameter" not in where and parameter[1] in parameters.TABLE:
            where["parameter"] = parameter[1]
        self.add(level, *found_and_remedy(text), **where)

    def fault(self, fault: Fault) -> None:
        """Take a fault of a table."""
        text, remedy = found_and_remedy(fault.text)
        first, *others = fault.partitions or (None,)
        also = f" Found in {len(others) + 1:,} partitions: {listed(fault.partitions, 8, str)}." if others else ""
        self.add("error", text + also, remedy, column=_shown(fault.column), partition=first)

    def error(self, error: Exception, **where: Any) -> None:
        """Take what a training would raise."""
        mistakes = error.mistakes if isinstance(error, ParameterError) else ()
        for mistake in mistakes:
            name = re.match(r"\w+", mistake)
            self.add("error", mistake, parameter=name[0] if name else None)
        if not mistakes:
            self.words("error", str(error), **where)

    def catching(self, level: Level = "error", **where: Any) -> Catching:
        """Context that makes a finding of this level of the error that ends it, and says where its warnings belong."""
        return Catching(self, level, where)

    @property
    def n_errors(self) -> int:
        """Number of errors so far."""
        return sum(finding.level == "error" for finding in self.findings)


class Catching:
    """Context that makes findings of a training's errors; all others go on.

    Parameters
    ----------
    collector : Collector
        Receives the findings.
    level : str
        Level of an error.
    where : mapping
        Place of all findings, as far as it is known.
    """

    def __init__(self, collector: Collector, level: Level, where: dict[str, Any]) -> None:
        self._collector, self._level, self._where = collector, level, where

    def __enter__(self) -> Self:
        self._before, self._collector.where = self._collector.where, self._where
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self._collector.where = self._before
        is_finding = isinstance(error, (DaskDLError, OSError))
        if isinstance(error, ParameterError) and self._level == "error":
            self._collector.error(error, **self._where)
        elif is_finding:
            self._collector.words(self._level, str(error), **self._where)
        return is_finding


class CheckListeners(Listeners):
    """Listeners to a check: what a training would warn of becomes a finding.

    Parameters
    ----------
    listeners : iterable of Listener
        Told of everything.
    collector : Collector
        Receives the findings.
    """

    collector: Collector

    def __new__(cls, listeners: Iterable[Listener], collector: Collector) -> Self:
        """Return these listeners."""
        self = super().__new__(cls, listeners)
        self.collector = collector
        return self

    def warn(self, message: str | Warning, kind: str = "") -> None:
        """Make a finding of a warning, and tell the listeners."""
        self.collector.warn(message)
        self(Warned(str(message), kind))


def _shown(name: str | None) -> str | None:
    """Name of a column; what stands beside a table is known by its role."""
    return name.strip("_") if name is not None and name.startswith("__") else name
