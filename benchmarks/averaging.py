"""Rounds of 1 to 32 workers that train one row each, so that what is left is the cost of averaging, by its parts.

Workers record when they compute and when they fetch. At each instant of a round, if any worker computes it is arithmetic;
else if any fetches it is transfer; else it is the scheduler and messages, the driver included. So the three add up to the
round. All workers share the cores of one machine, and those in one process share its interpreter: their tasks compute while
they wait for a turn, so arithmetic grows with their number here, as it would not if each had a core. Therefore there is the
path too: the longest computing in every level of the tree, training first and receiving last, one level after the other;
and the processor time of a task, which no waiting adds to.

In-process workers hand arrays over without a copy (`inproc://`); processes copy them through TCP.
`--plot FILE` draws the parts and the extrapolation.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from math import ceil, log
from pathlib import Path
from statistics import median

import dask
import numpy as np
import pandas as pd
from common import options, print_machine, print_table
from distributed import wait
from rounds import N_INPUTS, N_ROWS, PARTS, STAGES, Case, Found, measured, refused, size_of, workers
from scipy.optimize import nnls

from dask_dl.cluster.averaging import FAN
from dask_dl.errors import DaskDLWarning

ROUNDS = {0.1: 60, 1.0: 30, 16.0: 8}  #: million weights -> rounds that count
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}  #: bytes per second
FAR = (100, 1000)  #: workers


# ---- tasks that do nothing ------------------------------------------------------------------------------------------


def messages(n: int, repetitions: int) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds that a pinned task which does nothing takes, and of them the processor's for driver and scheduler.

    Submitted one by one, as a round does, and many in one graph.
    """
    with workers(2, processes=True) as client:  # so that driver and scheduler are alone in this process
        places = list(client.run(int))

        def one_by_one(k: int):
            where = [{"workers": [places[i % 2]], "allow_other_workers": False} for i in range(n)]
            return [client.submit(int, i, key=f"one-{k}-{i}", **where[i]) for i in range(n)]

        def in_one_graph(k: int):
            tasks = {f"all-{k}-{i}": (int, i) for i in range(n)}
            with dask.annotate(
                workers=lambda key: [places[int(key.rpartition("-")[2]) % 2]], allow_other_workers=False
            ):
                return client.get(tasks, list(tasks), sync=False)

        found: dict[str, list[tuple[float, float]]] = {"one submit each": [], "all in one graph": []}
        for k in range(repetitions + 1):
            for way, submit in zip(found, (one_by_one, in_one_graph), strict=True):
                began, used = time.perf_counter(), time.process_time()
                futures = submit(k)
                wait(futures)
                found[way].append((1000 * (time.perf_counter() - began) / n, 1000 * (time.process_time() - used) / n))
                del futures
    return {way: values[1:] for way, values in found.items()}


# ---- from these to many ---------------------------------------------------------------------------------------------


def terms(n: float) -> list[float]:
    """What a round is taken to cost: a + b log8(n) + c n."""
    return [1.0, log(n, FAN), float(n)]


def fitted(costs: dict[int, float]) -> tuple[np.ndarray, float]:
    """The three figures, none below zero, by least squares of relative errors; and the largest of these."""
    X = np.array([[term / costs[n] for term in terms(n)] for n in costs])
    found, _ = nnls(X, np.ones(len(X)))
    return found, float(np.abs(X @ found - 1).max())


def models_up(n: int) -> list[int]:
    """Contributions to an average in each level of the tree; one of them lies where the average is made."""
    levels = []
    while n > 1:
        levels.append(min(FAN, n))
        n = ceil(n / FAN)
    return levels


def models_down(n: int) -> list[int]:
    """Copies that a worker sends in each generation of receivers, when they divide evenly among those that have one."""
    generations, having = [], 1
    while having < n:
        reached = min(n, FAN if having == 1 else FAN * (having + 1))
        generations.append(ceil((reached - having) / having))
        having = reached
    return generations


def far(n: int, millions: float, link: float, found: Found, minimum: np.ndarray, maximum: np.ndarray) -> list[float]:
    """Seconds of a round of n workers on machines of their own: scheduler (least, most), transfer, arithmetic."""
    levels = models_up(n)
    moved = sum(levels) - len(levels) + sum(models_down(n))
    arithmetic = found.cpu["average"] * sum(levels) / FAN + found.cpu["receive"]
    scheduler = [float(np.dot(terms(n), fit)) / 1000 for fit in (minimum, maximum)]
    return [*scheduler, moved * size_of(millions) / link, arithmetic / 1000]


# ---- all of them ----------------------------------------------------------------------------------------------------


def make_table(place: Path) -> Path:
    """A table of numbers as a Parquet file in a folder."""
    X = np.random.default_rng(1).standard_normal((N_ROWS, N_INPUTS), dtype=np.float32)
    frame = pd.DataFrame(X, columns=[f"x{k}" for k in range(N_INPUTS)])
    frame["y"] = X.sum(axis=1)
    frame.to_parquet(place / "part.0.parquet")
    return place


def middle(values) -> str:
    return f"{median(values):.2f}"


def extent(values) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def print_cases(found: dict[Case, Found]) -> None:
    columns = ["weights, million", "workers", "round, ms", *PARTS]
    columns += ["training", "averaging", "receiving", "path", "cpu of an average", "cpu of a receive"]
    rows = []
    for case, of_case in found.items():
        stages = [median(each.stages[stage] for each in of_case.rounds) for stage in STAGES]
        figures = [of_case.total(), *of_case.parts(), *stages, of_case.path()]
        cpu = [of_case.cpu["average"], of_case.cpu["receive"]]
        workers_of = f"{case.n} {'processes' if case.processes else 'in process'}"
        rows.append([f"{case.millions:g}", workers_of, *map(ms, figures + cpu)])
    print_table(columns, rows)


def fits_of(found: dict[Case, Found]) -> dict[tuple[float, str], tuple[np.ndarray, float]]:
    """By size and by what is fitted, of in-process workers."""
    fits = {}
    for millions in dict.fromkeys(case.millions for case in found):
        own = {case.n: f for case, f in found.items() if case.millions == millions and not case.processes}
        fits[millions, "round"] = fitted({n: f.total() for n, f in own.items()})
        fits[millions, "scheduler"] = fitted({n: f.parts()[-1] for n, f in own.items()})
    return fits


def plot(path: Path, found: dict[Case, Found], extrapolated: dict[tuple[float, str], dict[int, float]]) -> None:
    """The parts of measured rounds, in process, and rounds of many workers."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dask_dl"
    from matplotlib import pyplot as plt

    sizes = list(dict.fromkeys(case.millions for case in found))
    figure, (*panels, last) = plt.subplots(1, len(sizes) + 1, figsize=(13, 3.6), layout="constrained")
    for panel, millions in zip(panels, sizes, strict=True):
        own = {str(case.n): f for case, f in found.items() if case.millions == millions and not case.processes}
        below = np.zeros(len(own))
        for k, (part, color) in enumerate(zip(PARTS, ("C0", "C1", "0.75"), strict=True)):
            heights = np.array([f.parts()[k] for f in own.values()])
            panel.bar([*own], heights, bottom=below, color=color, label=part)
            below += heights
        panel.plot([*own], [f.path() for f in own.values()], "k.:", label="path")
        panel.set(title=f"{millions:g} million weights: ms", xlabel="in-process workers")
    panels[0].legend(frameon=False)
    for (millions, link), seconds in extrapolated.items():
        style, color = "--" if link.startswith("100 ") else "-", f"C{sizes.index(millions)}"
        last.plot([*seconds], [*seconds.values()], style, color=color, label=f"{millions:g} million, {link}")
    last.set(title="extrapolated: seconds, least", xlabel="workers", xscale="log", yscale="log")
    last.legend(frameon=False, fontsize="small")
    for axes in (*panels, last):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the parts and the extrapolation")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DaskDLWarning)
    print_machine("dask", "distributed")
    rounds = {0.1: 10} if arguments.quick else ROUNDS
    few, in_process = ((2,), (1, 2, 4, 8)) if arguments.quick else ((1, 2, 4), (1, 2, 4, 8, 16, 32))
    found: dict[Case, Found] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = make_table(Path(place))
        for millions, n_rounds in rounds.items():
            for processes, numbers in ((False, in_process), (True, few)):
                for n in numbers:
                    case = Case(millions, processes, n)
                    if reason := refused(case):
                        print(f"left out: {case}: {reason}\n")
                    else:
                        found[case] = measured(case, folder, n_rounds)
    print_cases(found)
    print()
    nothing = messages(50 if arguments.quick else 200, 3 if arguments.quick else 9)
    print_table(
        ["a task that does nothing, 2 processes", "ms", "range", "processor of driver and scheduler, ms", "range"],
        [
            (way, *(show(v) for v in zip(*pairs, strict=True) for show in (middle, extent)))
            for way, pairs in nothing.items()
        ],
    )
    fits = fits_of(found)
    print("\nIn process, ms = a + b log8(workers) + c workers:\n")
    print_table(
        ["weights, million", "of", "a", "b", "c", "largest error"],
        [(f"{size:g}", what, *(f"{x:.2f}" for x in fit), f"{e:.0%}") for (size, what), (fit, e) in fits.items()],
    )
    minimum, maximum = (fits[min(rounds), what][0] for what in ("scheduler", "round"))
    # What the last workers' messages take is hidden while the first compute: two tasks for each are the least.
    minimum[2] = max(minimum[2], 2 * median(processor for _, processor in nothing["one submit each"]))
    rows, lines = [], {}
    for millions in rounds:
        base = found.get(Case(millions, processes=False, n=FAN))
        for name, link in LINKS.items() if base else ():
            for n in FAR:
                low, high, transfer, arithmetic = far(n, millions, link, base, minimum, maximum)
                cells = [f"{low:.1f} to {high:.1f}", f"{transfer:.2f}", f"{arithmetic:.2f}"]
                both = f"{low + transfer + arithmetic:.1f} to {high + transfer + arithmetic:.1f}"
                rows.append((f"{millions:g}", name, f"{n:,}", *cells, both))
            lines[millions, name] = {
                n: sum(far(n, millions, link, base, minimum, maximum)[i] for i in (0, 2, 3))
                for n in (8, 16, 32, 64, 128, 256, 512, 1000)
            }
    print("\nExtrapolated, seconds:\n")
    print_table(["weights, million", "links", "workers", "scheduler", "transfer", "arithmetic", "round"], rows)
    if arguments.plot:
        plot(arguments.plot, found, lines)


if __name__ == "__main__":
    main()
