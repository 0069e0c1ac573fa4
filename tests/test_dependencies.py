"""What is imported is declared, and what is declared is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Extra -> the packages that it is for.
EXTRAS = {"plots": {"matplotlib"}, "shap": {"shap"}, "onnx": {"onnx"}}


def canonical(name):
    """A distribution's name, as names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements):
    """Names of distributions, with the least version of each."""
    found = {}
    for text in requirements:
        name, versions = re.match(r"([\w.-]+)(?:\[[\w,]+\])?(.*)", text).groups()
        found[canonical(name)] = versions
    return found


def imported(source):
    """Top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def missing_and_unused(packages, requirements, distributions):
    """Packages whose distribution is not declared, and declared distributions that no package is of."""
    of = {package: {canonical(name) for name in distributions.get(package, [package])} for package in packages}
    missing = {package for package, names in of.items() if not names & set(requirements)}
    return missing, set(requirements) - set().union(*of.values())


@pytest.fixture(scope="module")
def packages():
    """Packages of others that dask_dl imports."""
    modules = (ROOT / "dask_dl").rglob("*.py")
    names = {package for path in modules for package in imported(path.read_text())}
    return names - set(sys.stdlib_module_names) - {"dask_dl"}


def test_every_package_that_is_imported_is_declared_and_no_other(packages):
    optional = set().union(*EXTRAS.values())
    missing, unused = missing_and_unused(
        packages - optional, declared(PROJECT["dependencies"]), packages_distributions()
    )
    assert not missing, f"imported, and not declared in pyproject.toml: {sorted(missing)}"
    assert not unused, f"declared in pyproject.toml, and not imported: {sorted(unused)}"


@pytest.mark.parametrize("extra", EXTRAS)
def test_optional_packages_are_extras(extra):
    names = declared(PROJECT["optional-dependencies"][extra])
    assert set(names) == EXTRAS[extra]
    assert not EXTRAS[extra] & set(declared(PROJECT["dependencies"]))


def test_every_dependency_names_its_least_version():
    assert all(re.fullmatch(r">=\d+(\.\d+)*", versions) for versions in declared(PROJECT["dependencies"]).values())


def test_a_missing_and_an_unused_one_are_found():
    distributions = {"sklearn": ["scikit-learn"], "dask": ["dask", "dask-expr"]}
    needs = declared(["scikit-learn>=1", "Dask[dataframe]>=2", "spare_part>=1"])
    packages = set(
        imported("import sklearn.metrics\ndef f():\n    from dask import delayed\n    import lacking\nfrom . import x")
    )
    assert missing_and_unused(packages, needs, distributions) == ({"lacking"}, {"spare-part"})
