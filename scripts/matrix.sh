#!/usr/bin/env bash
# Runs the tests on each Ray named on the command line ("newest" for the newest release), each in a
# virtual environment of its own. Usage: scripts/matrix.sh 2.52.1 2.56.0 newest
set -euo pipefail
cd "$(dirname "$0")/.."

failed=()
for version in "$@"; do
    requirement="ray[default]"
    [ "$version" = newest ] || requirement="ray[default]==$version"
    environment=".venv-ray-$version"
    echo "== Ray $version"
    "${PYTHON:-python3}" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]' "$requirement"
    "$environment/bin/python" -m pytest tests || failed+=("$version")
done

if ((${#failed[@]})); then
    echo "failed on Ray: ${failed[*]}" >&2
    exit 1
fi
