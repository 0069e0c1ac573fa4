"""The span of trainings on the Dask dashboard, and its tidying: a scheduler never forgets a span, nor the groups in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: Name and id of the one span that the trainings on a cluster share.
SPAN = "dask-dl-fit"
#: Beginning of the keys of all tasks of a training, and name of the data that its driver sends.
PREFIX = "dask-dl-"
SENT = "send"


def in_span() -> AbstractContextManager[Any]:
    """Context in which tasks are submitted into the span, below the one that the caller may have opened.

    `distributed.span` makes a new one each time. Metrics of tasks arrive with heartbeats, after the end of a training, and
    need their span then: so that of trainings stays, one for all.
    """
    outer = dask.get_annotations().get("span", {"name": (), "ids": ()})
    ids = outer["ids"]
    mine = "/".join((*ids, SPAN))
    context: AbstractContextManager[Any] = dask.annotate(span={"name": (*outer["name"], SPAN), "ids": (*ids, mine)})
    return context


def tidy(dask_scheduler: Any) -> None:
    """Have the scheduler forget what trainings left in its spans: task groups without tasks, and spans of sent data.

    Data that a client sends are in a default span, which only Dask chooses. As they do not run, no heartbeat will ask for it.
    """
    # Dask keeps the last hundred computations for its dashboard, each with all of its groups.
    for computation in dask_scheduler.computations:
        computation.groups -= {
            group
            for group in computation.groups
            if group.name.startswith(PREFIX) and dask_scheduler.task_groups.get(group.name) is not group
        }
    spans = dask_scheduler.extensions.get("spans")
    if spans is None:
        return
    for span in list(spans.spans.values()):
        gone = {group for group in span.groups if dask_scheduler.task_groups.get(group.name) is not group}
        if span.name[-1] == SPAN:
            span.groups -= gone
            span._metadata = None  # noqa: SLF001  # a list of all that was ever computed in it
        elif {group.name for group in gone} == {PREFIX + SENT} and gone == span.groups and span.name == ("default",):
            del spans.spans[span.id]
            spans.root_spans.remove(span)
            spans.spans_search_by_name[span.name].remove(span)
            spans.spans_search_by_tag[span.name[0]].remove(span)
