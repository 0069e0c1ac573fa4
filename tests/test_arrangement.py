"""Where tests are looked for: each module has a file of its name, and other files have a topic that spans modules."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE, TESTS = ROOT / "dask_dl", ROOT / "tests"

#: Modules without a file of tests, and why they need none.
EXEMPT = {
    "cluster/backend": "an interface, held by test_local and test_dask_backend",
    "cluster/dependent": "an interface, held by test_fixed_shard",
    "cluster/setup": "values that are handed on",
    "paths": "a line",
    "show/findings": "a line; its page is held by preflight/test_findings",
}
#: Files of tests that are no module's, and what they span.
TOPICS = {
    "cluster/test_chaos": "whatever may happen to a training on workers",
    "cluster/test_entries": "sparse rows from blocks to weights",
    "cluster/test_neighbours": "several trainings on one cluster",
    "cluster/test_processes": "workers that are processes",
    "cluster/test_views": "rows of a view from blocks to weights",
    "estimators/test_other_searches": "searches of other libraries",
    "golden/test_golden": "figures of H2O",
    "kernels/test_sizes": "arguments of all kernels",
    "node/test_staleness": "threads that exchange, from kernels to replicas",
    "test_arrangement": "this rule",
    "test_bad_input": "every fault of a table, by every way in",
    "test_dependencies": "what the package asks for",
    "test_docstrings": "the code's own descriptions",
    "test_examples": "the examples of docstrings and guides",
    "test_fuzz": "forged files of every kind",
    "test_glossary": "words of the code and of the documentation",
    "test_imports": "which package may import which",
    "test_interrupts": "whatever ends a training from outside",
    "test_naive": "the oracle",
    "test_odd_tables": "tables of every kind, from reading to predicting",
    "test_pages": "the pages of the documentation",
    "test_parameter_combinations": "any parameters together",
    "test_quality": "what is learned of real tables",
    "test_references": "citations and links",
    "test_sizes": "lengths of modules and functions",
}


def named(folder, start=""):
    """Modules below a folder by path, without suffix, those that begin so; a package is named as its folder is."""
    paths = (path.relative_to(folder).with_suffix("") for path in folder.rglob(f"{start}*.py"))
    return {path.as_posix() for path in paths if not path.name.startswith("__")}


def file_of(module):
    """The file of the tests of a module."""
    path = Path(module)
    return (path.parent / f"test_{path.name}").as_posix()


def test_every_module_has_the_file_of_its_tests():
    lacking = {module for module in named(PACKAGE) if file_of(module) not in named(TESTS, "test_")}
    assert lacking == EXEMPT.keys()


def test_every_file_of_tests_is_that_of_a_module_or_has_a_topic():
    """Beside modules there are packages; directly in `tests` and on workers any module is tried through all layers."""
    modules = named(PACKAGE)
    packages = {path.parent.name for path in PACKAGE.rglob("__init__.py")}
    known = {file_of(module) for module in modules}
    for name in {*packages, *(Path(module).name for module in modules)}:
        known |= {f"{name}/test_{name}", f"test_{name}", f"cluster/test_{name}"}
    assert named(TESTS, "test_") - known == TOPICS.keys()
