"""Seconds until something happens: import, first estimator, first training with and without compiled kernels on disk.

Every figure comes from fresh processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from common import FIGURE, figure, options, print_machine, print_table

HEAVY = ("dask", "distributed", "numba", "pandas", "sklearn")

IMPORT = """
import json, sys, time
began = time.perf_counter()
import dask_dl
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "modules": [*sys.modules]}))
"""
ESTIMATOR = """
import json, time
began = time.perf_counter()
import dask_dl
dask_dl.DeepLearningClassifier()
print(json.dumps({"seconds": time.perf_counter() - began}))
"""
SKLEARN = """
import json, time
began = time.perf_counter()
import sklearn.base
print(json.dumps({"seconds": time.perf_counter() - began}))
"""
FIRST_FIT = """
import json, time
import numpy as np
from dask_dl import DeepLearningClassifier
from dask_dl.cluster.local import LocalTrainer

compiling = []
compile_kernels = LocalTrainer.compile

def timed(trainer):
    began = time.perf_counter()
    compile_kernels(trainer)
    compiling.append(time.perf_counter() - began)

LocalTrainer.compile = timed
X = np.random.default_rng(0).standard_normal((100, 4))
calls = []
for _ in range(2):
    began = time.perf_counter()
    DeepLearningClassifier(hidden=(8,), epochs=1, random_state=1).fit(X, X[:, 0] > 0)
    calls.append(time.perf_counter() - began)
print(json.dumps({"compiling": compiling[0], "fit": calls[0], "over a warm call": calls[0] - calls[1]}))
"""


def run(code: str, cache: str | None = None) -> dict:
    """What `code` prints, in a process of its own; its kernels are kept in the folder `cache`."""
    environment = os.environ | ({"DASK_DL_CACHE_DIR": cache} if cache else {})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, check=True, capture_output=True
    )
    return json.loads(done.stdout)


def main() -> None:
    arguments = options(__doc__).parse_args()
    n, n_compiled = (2, 1) if arguments.quick else (7, 3)
    print_machine("dask", "scikit-learn")
    imports, estimators, bases, compiled, cached = [], [], [], [], []
    run(ESTIMATOR)  # files into the page cache
    for _ in range(n):
        imports.append(run(IMPORT))
        estimators.append(run(ESTIMATOR))
        bases.append(run(SKLEARN))
    for _ in range(n_compiled):
        with tempfile.TemporaryDirectory() as cache:
            compiled.append(run(FIRST_FIT, cache))
            cached += [run(FIRST_FIT, cache) for _ in range(max(1, n // n_compiled))]

    def seconds(name: str, runs: list[dict], key: str = "seconds", max_value: float | None = None) -> tuple[str, ...]:
        return figure(f"{name} ({len(runs)} processes)", [run[key] for run in runs], max_value=max_value)

    print_table(
        FIGURE,
        [
            seconds("import dask_dl", imports, max_value=0.5),
            seconds("import and first estimator", estimators, max_value=3),
            seconds("import sklearn.base by itself", bases),
            seconds("compiling, nothing on disk", compiled, "compiling", max_value=25),
            seconds("first fit minus second, nothing on disk", compiled, "over a warm call"),
            seconds("loading kernels from disk", cached, "compiling"),
            seconds("first fit minus second, kernels on disk", cached, "over a warm call", max_value=1),
        ],
    )
    heavy = sorted({name for run in imports for name in run["modules"]} & set(HEAVY))
    print(f"\nLoaded by `import dask_dl`, among {', '.join(HEAVY)}: {', '.join(heavy) or 'none'}.")


if __name__ == "__main__":
    main()
