# Build the documentation in docs/_build/html: sh ci/docs.sh [links]
#
# Warnings are errors; links between pages are checked. `links` also checks those to other sites, which needs the network.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
sh "$root/ci/env.sh" docs
cd "$root"
sphinx() {
    .venv/bin/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet --doctree-dir docs/_build/doctrees "$@"
}
sphinx --builder html docs docs/_build/html
if [ "${1-}" = links ]; then
    sphinx --builder linkcheck docs docs/_build/links
fi
echo "docs/_build/html/index.html"
