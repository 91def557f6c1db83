#!/usr/bin/env bash
# Collects the wheels that a GPU image without network lacks: all that dnabert_nemo needs, at its tested versions, and the
# package itself; but neither torch nor Triton nor CUDA's libraries, which the image has and keeps.
#
#   bash scripts/make_wheelhouse.sh 3.12 [FOLDER]   FOLDER: by default wheelhouse/; replaced when it is whole
#   bash FOLDER/install.sh                          there, in the image
#
# 3.12 is the image's Python, for Linux x86-64 with glibc 2.28 or later. PYTHON=/path/to/python names the interpreter whose pip
# fetches them; else python3.12, or any other.
set -euo pipefail

repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
version="${1:-}"
folder="${2:-wheelhouse}"
from_source=(antlr4-python3-runtime) # there is no wheel of these; they are pure Python
glibc=28                             # 2.28, the oldest of the images in use

fail() {
    echo "error: $1" >&2
    exit 2
}

[[ $# -le 2 ]] || fail "give a Python version and a folder: $0 3.12 wheelhouse"
[[ "$version" =~ ^3\.[1-9][0-9]*$ ]] || fail "Python version '$version': give that of the image, such as 3.12"
((${version#3.} >= 11)) || fail "Python $version: dnabert_nemo needs 3.11 or later"

find_python() {
    local candidate
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python with pip (tried: ${candidates[*]}): install one, such as the package python3-pip, or name one with \
PYTHON=/path/to/python"
}
if [[ -n "${PYTHON:-}" ]]; then
    candidates=("$PYTHON")
else
    candidates=("python$version" python3 "$repo/.venv/bin/python")
fi
python="$(find_python)"

# Made beside the folder and moved there whole: what is there already stays until then.
mkdir -p "$(dirname "$folder")" 2>/dev/null || fail "cannot make $(dirname "$folder"): name another folder"
folder="$(cd "$(dirname "$folder")" && pwd)/$(basename "$folder")"
if [[ -e "$folder" && ! -e "$folder/install.sh" ]]; then
    fail "$folder is there and is no wheelhouse: name another folder"
fi
work="$(mktemp -d "$(dirname "$folder")/.wheelhouse.XXXXXX" 2>/dev/null)" ||
    fail "cannot write to $(dirname "$folder"): name another folder"
trap 'rm -rf "$work"' EXIT
wheels="$work/wheels"
mkdir "$wheels" "$work/stand-ins"

# pip_says WHAT ARGUMENT...: runs pip; of what it prints, its errors are shown if it fails
pip_says() {
    local what="$1"
    shift
    "$python" -m pip "$@" --quiet --disable-pip-version-check 2>"$work/pip.txt" || {
        grep -v "^WARNING" "$work/pip.txt" | tail -n 5 >&2 || true
        fail "$what: see above what pip says"
    }
}

# The package, from a copy: setuptools leaves a build folder where it builds.
mkdir "$work/package"
cp -rL "$repo"/{dnabert_nemo,pyproject.toml,README.md,LICENSE} "$work/package"
pip_says "the package cannot be built" wheel --no-deps --wheel-dir "$wheels" "$work/package"
for name in "${from_source[@]}"; do
    pip_says "$name cannot be built" wheel --no-deps --constraint "$repo/constraints.txt" --wheel-dir "$wheels" "$name"
done
if find "$wheels" -name "*.whl" ! -name "*-py3-none-any.whl" | grep -q .; then
    fail "a package built here is not pure Python: $(ls "$wheels")"
fi

platforms=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64)
for ((minor = glibc; minor >= 5; minor--)); do
    platforms+=(--platform "manylinux_2_${minor}_x86_64")
done
"$python" "$repo/scripts/wheelhouse.py" stand-ins "$repo/constraints.txt" "$work/stand-ins" >"$work/constraints.txt"
echo "fetching the wheels for Python $version: some minutes"
pip_says "there are not all wheels for Python $version" download --dest "$wheels" --constraint "$work/constraints.txt" \
    --find-links "$work/stand-ins" --find-links "$wheels" \
    --only-binary :all: --implementation cp --python-version "$version" "${platforms[@]}" "$wheels"/dnabert_nemo-*.whl
"$python" "$repo/scripts/wheelhouse.py" close "$wheels" "$version" 2>"$work/missing.txt" ||
    fail "$(tail -n 1 "$work/missing.txt"): run this with PYTHON=/path/to/python$version"

sed "s/@VERSION@/$version/g" >"$wheels/install.sh" <<'END'
#!/usr/bin/env bash
# Installs dnabert_nemo from the wheels beside this file, without network, into the Python named python3 or by PYTHON. What was
# compiled together stays as it is, torch first of all, and so does every package that is new enough. Arguments go to pip, such
# as --user.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-python3}"
kept="^(torch|torchvision|triton|pytorch[-_]triton|transformer[-_]engine.*|apex|flash[-_]attn|numpy|cuda-.+|nvidia-.+)=="

fail() {
    echo "error: $1" >&2
    exit 2
}

found="$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))' 2>/dev/null)" ||
    fail "$python cannot be run: name another with PYTHON=/path/to/python"
[[ "$found" == "@VERSION@" ]] ||
    fail "these wheels are for Python @VERSION@ and $python is $found: name another with PYTHON, or make others"
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip: name another with PYTHON=/path/to/python"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
there() {
    "$python" -m pip list --format=freeze --disable-pip-version-check | grep -iE "$kept" || true
}
there >"$work/kept.txt"
torch="$(grep -iE "^torch==" "$work/kept.txt")" ||
    fail "$python has no torch, and there is none here: take an image that has it"

export PIP_CONSTRAINT="$work/kept.txt" # in place of an image's own, which may pin all it was built with
pip=("$python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$here" "$@")
"${pip[@]}" --verbose --dry-run --report "$work/report.json" --find-links "$here/stand-ins" dnabert_nemo \
    >"$work/said.txt" 2>&1 || {
    grep -A 20 "^The conflict is caused by" "$work/said.txt" >&2 || tail -n 5 "$work/said.txt" >&2
    fail "these wheels do not go with what $python has: see above; nothing was installed"
}
"$python" - "$work/report.json" >"$work/chosen.txt" <<'CHOOSE'
import json, sys

for each in json.load(open(sys.argv[1]))["install"]:
    name, version = each["metadata"]["name"], each["metadata"]["version"]
    if name != "dnabert_nemo" and not version.endswith("+image"):
        print(f"{name}=={version}")
CHOOSE
if [[ -s "$work/chosen.txt" ]]; then
    "${pip[@]}" --no-deps --requirement "$work/chosen.txt"
fi
"${pip[@]}" --no-deps --force-reinstall dnabert_nemo
there >"$work/after.txt"
if grep -vxFf "$work/after.txt" "$work/kept.txt" >&2; then fail "what was to stay as it was has changed: see above"; fi
"$python" -c 'import dnabert_nemo.model' >"$work/import.txt" 2>&1 || {
    tail -n 5 "$work/import.txt" >&2
    fail "dnabert_nemo is installed and cannot be imported: see above"
}
echo "installed dnabert_nemo and $(wc -l <"$work/chosen.txt") packages it needs beside $torch"
END

old="$work/old"
if [[ -e "$folder" ]]; then mv "$folder" "$old"; fi
mv "$wheels" "$folder"
echo "$(find "$folder" -maxdepth 1 -name "*.whl" | wc -l) wheels, $(du -sh "$folder" | cut -f1), in $folder. In the image:"
echo "  bash $(basename "$folder")/install.sh"
