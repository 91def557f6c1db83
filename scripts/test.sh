#!/usr/bin/env bash
# Runs the tests in two processes, after installing what they need into .venv; arguments go to pytest.
#
#   bash scripts/test.sh
#   bash scripts/test.sh tests/kmer -x -n 0     in this process
#
# DNABERT_NEMO_DATA names a folder of real genomes, by default ../shared/data where that exists; tests that read them
# are skipped elsewhere. DNABERT_NEMO_PYTHON names an interpreter that has the package and its `test` extra already,
# and nothing is installed.
set -euo pipefail

repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [[ -z "${DNABERT_NEMO_PYTHON:-}" ]]; then
    bash "$repo/scripts/install.sh" test
fi
python="${DNABERT_NEMO_PYTHON:-$repo/.venv/bin/python}"

if [[ -z "${DNABERT_NEMO_DATA:-}" && -d "$repo/../shared/data" ]]; then
    DNABERT_NEMO_DATA="$(cd "$repo/../shared/data" && pwd)"
    export DNABERT_NEMO_DATA
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # tests start several ranks at once

cd "$repo"
exec "$python" -m pytest -n 2 "$@"
