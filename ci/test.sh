# Run the tests: sh ci/test.sh [options and files, as for pytest]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
sh "$root/ci/env.sh" dev
cd "$root"
exec .venv/bin/python -m pytest "$@"
