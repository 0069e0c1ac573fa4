# Build .venv with this package, editable, and the extras it is asked for; return at once where that is done.
#
#     sh ci/env.sh dev     for the tests; brings the others
#     sh ci/env.sh plots   for the demo
#     sh ci/env.sh docs    for the documentation
#
# Python 3.11 or newer is looked for on PATH; DASK_DL_PYTHON names another one. Building needs the network.
set -eu

extras=${1:?"say which extras: sh ci/env.sh dev"}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=$root/.venv
python=$venv/bin/python
building=$venv/dask_dl-building # there while pip works: what an interrupted pip leaves behind is not to be trusted

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# All that an installation depends on; kept in .venv when it is finished, one file for each choice of extras. The folder
# is part of it because scripts and editable installations name it in full.
wanted() {
    printf '%s\n' "$root" "${DASK_DL_PYTHON-}"
    "$python" -c 'import sys; print(sys.version)' 2>&1 || :
    cksum <"$root/pyproject.toml"
}

# The Python 3.11 or newer behind a command; fails in silence for any other and for the empty shims of version managers.
# An environment stands for the Python beneath it, for it cannot rebuild itself.
interpreter() {
    "$1" -c '
import os, sys
assert sys.version_info >= (3, 11)
print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
' 2>/dev/null
}

find_python() {
    if [ -n "${DASK_DL_PYTHON-}" ]; then
        interpreter "$DASK_DL_PYTHON" || fail "DASK_DL_PYTHON=$DASK_DL_PYTHON is no Python 3.11 or newer."
        return
    fi
    bare=
    for name in python3 python3.11 python3.12 python3.13 python3.14; do
        found=$(interpreter "$name") || continue
        if "$found" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$found"
            return
        fi
        bare=${bare:-$found}
    done
    [ -z "$bare" ] || fail "$bare cannot build environments: its venv and ensurepip are not installed." \
        "On Debian and Ubuntu they are a package of their own: sudo apt install python3-venv"
    fail "No Python 3.11 or newer was found on PATH (python3, python3.11 to python3.14)." \
        "Install one, or name one: DASK_DL_PYTHON=/path/to/python3"
}

usable() { # .venv is whole, and of the Python asked for if one was
    [ ! -e "$building" ] || return 1
    beneath=$(interpreter "$python") || return 1
    "$python" -m pip --version >/dev/null 2>&1 || return 1
    [ -z "${DASK_DL_PYTHON-}" ] || [ "$beneath" = "$(interpreter "$DASK_DL_PYTHON")" ]
}

for ready in "$extras" dev; do # dev brings what the others bring
    stamp=$venv/dask_dl-$ready
    if [ -e "$stamp" ] && [ "$(wanted)" = "$(cat "$stamp")" ]; then
        exit 0
    fi
done

if ! usable; then
    base=$(find_python)
    echo "Building .venv with $base" >&2
    "$base" -m venv --clear "$venv" || fail "$base could not build $venv; its message is above."
fi
echo "Installing dask_dl[$extras] into .venv: a minute or more the first time" >&2
: >"$building"
rm -f "$venv/dask_dl-$extras"
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --editable "${root}[$extras]" ||
    fail "dask_dl[$extras] could not be installed; pip's message is above."
"$python" -m compileall -qq -j 0 "$venv/lib" || : # pip would do it on one core; a file that is no Python does not matter
wanted >"$venv/dask_dl-$extras"
rm "$building"
