# shellcheck shell=bash
# Sourced by the scripts beside it that may not be able to run everywhere; it takes them to the root of the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# not_run WHY: ends the script with the word that nothing was run. On a laptop that is no failure; in a workflow, which
# installs what it needs, it is: nothing there passes by being left out.
not_run() {
  echo "not run: ${0##*/}: $1" >&2
  [ -z "${GITHUB_ACTIONS:-}" ] || exit 1
  exit 0
}

# need PROGRAM HOW: what is to be run has to be there, and if not, this says how to get it.
need() {
  command -v "$1" >/dev/null || not_run "it needs $1: $2"
}

# Where images go, such as ghcr.io/OWNER: an owner may have capitals, a registry has none.
IMAGE_PREFIX=${IMAGE_PREFIX:-}
IMAGE_PREFIX=${IMAGE_PREFIX,,}
