"""What is installed where, and whether workers can do the work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import dask_dl
from dask_dl.cluster import environment
from dask_dl.errors import ClusterError


def facts(**changes):
    return environment.describe() | changes


def test_what_is_installed_is_judged_before_work_starts():
    assert environment.check({"a": facts(), "b": facts()}) == []
    with pytest.raises(ClusterError, match=r"cannot be used on b: ModuleNotFoundError.*No module .*pip install"):
        environment.check({"a": facts(), "b": ModuleNotFoundError("No module named 'dask_dl'")})
    with pytest.raises(ClusterError, match=r"dask_dl is .* here and 0.0.1 on b.*same version"):
        environment.check({"a": facts(), "b": facts(dask_dl="0.0.1")})
    (warning,) = environment.check({"a": facts(), "b": facts(numpy="1.0")})
    assert "numpy is" in str(warning) and "1.0 on b" in str(warning)
    (warning,) = environment.check({"a": facts(), "b": facts(processor="mill")})
    assert "mill: b" in str(warning)


def test_the_checksum_of_a_package_depends_on_its_modules_only(tmp_path):
    package = Path(dask_dl.__file__).parent
    copy, edited = tmp_path / "a" / "dask_dl", tmp_path / "elsewhere"
    for folder in (copy, edited):
        shutil.copytree(package, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "notes.txt").write_text("no module")
    file = edited / "cluster" / "membership.py"
    file.write_text(file.read_text() + "\n")
    assert environment.sources(copy) == environment.sources(package) == environment.installed()["sources"]
    assert environment.sources(edited) != environment.sources(package)
    (copy / "cluster" / "membership.py").rename(copy / "cluster" / "squad.py")
    assert environment.sources(copy) != environment.sources(package)
    assert environment.sources(tmp_path / "package.zip" / "dask_dl") is None
