# Run the tests: sh ci/test.sh [options and files, as for pytest]
#
# A file of tests runs in one process, four files at a time: many wait for processes of their own. -n 0 is one after the other.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
sh "$root/ci/env.sh" dev
cd "$root"
unset PYTHONDONTWRITEBYTECODE # a hundred processes would each compile the package
exec .venv/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=20 "$@"
