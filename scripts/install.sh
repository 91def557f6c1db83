#!/usr/bin/env bash
# Makes .venv in this repository and installs the package into it, every dependency at its tested version.
# Does nothing where that is done; starts over where it was interrupted.
#
#   bash scripts/install.sh          what the commands in examples/ need
#   bash scripts/install.sh test     the tests' needs as well; dev: also the linters
#
# PYTHON=/path/to/python chooses the interpreter, 3.11 or later; else it is looked for.
set -euo pipefail

repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$repo/.venv"
unfinished="$venv/unfinished"
extra="${1:-}"

fail() {
    echo "error: $1" >&2
    exit 2
}

case "$extra" in
    "") target="." covered_by=(base test dev) ;;
    test) target=".[test]" covered_by=(test dev) ;;
    dev) target=".[dev]" covered_by=(dev) ;;
    *) fail "unknown extra '$extra': give none, test or dev" ;;
esac

find_python() {
    local candidate
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or later (tried: ${candidates[*]}): install one, such as the packages python3.11 and \
python3.11-venv, or name one with PYTHON=/path/to/python"
}

# One that was copied with the repository would run the original's code.
is_usable() {
    [[ ! -e "$unfinished" && "$(cat "$venv/made-for" 2>/dev/null || echo "$repo")" == "$repo" ]] &&
        "$venv/bin/python" -c 'import pip' 2>/dev/null
}

make_venv() {
    local python
    python="$(find_python)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv: install it (the package python3-venv, or the like), or name another with PYTHON=/path/to/python"
    if [[ -e "$venv" ]]; then
        echo "replacing $venv, which is unfinished, broken or copied from elsewhere"
        rm -rf "$venv"
    fi
    mkdir "$venv"
    touch "$unfinished"
    "$python" -m venv "$venv"
    echo "$repo" >"$venv/made-for"
    echo "made $venv with $("$python" --version)"
}

cd "$repo"
if [[ -n "${PYTHON:-}" ]]; then
    candidates=("$PYTHON")
else
    candidates=(python3.11 python3.12 python3)
fi

wanted="$(cat pyproject.toml constraints.txt | sha256sum)"
if is_usable; then
    for one in "${covered_by[@]}"; do
        if [[ "$(cat "$venv/installed-$one" 2>/dev/null)" == "$wanted" ]]; then
            exit 0
        fi
    done
else
    make_venv
fi

began=$SECONDS
echo "installing dnabert_nemo and what it needs: some minutes"
touch "$unfinished"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-compile --constraint constraints.txt --editable "$target"
# on all cores, as pip compiles on one; where PYTHONDONTWRITEBYTECODE is set, each start would compile everything anew. What is
# there for another Python does not compile, and stays as it is
"$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || true
echo "$wanted" >"$venv/installed-${extra:-base}"
rm "$unfinished"
echo "installed in $((SECONDS - began)) s"
