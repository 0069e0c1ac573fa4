# Train on handwritten digits and show the result: sh ci/demo.sh [FOLDER] [further options of `dask-dl demo`]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
sh "$root/ci/env.sh" plots
exec "$root/.venv/bin/dask-dl" demo "$@"
