#!/usr/bin/env bash
# From nothing to a splice report: sets up .venv, makes a toy genome, pre-trains a tiny DNABERT on it, fine-tunes it on
# the toy genome's splice sites and reports. Under five minutes on two CPU cores, after installation.
#
#   bash scripts/quickstart.sh [FOLDER]      FOLDER: where everything goes, by default quickstart/ in the repository
#
# It can be run again: what is made anew is the same, and training goes on where it was stopped.
# DNABERT_NEMO_PYTHON names an interpreter that has the package already, and nothing is installed.
# QUICKSTART_FAST=1 takes a few training steps only, to see that everything works; its figures mean nothing.
set -euo pipefail

repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="${1:-$repo/quickstart}"

if [[ -z "${DNABERT_NEMO_PYTHON:-}" ]]; then
    bash "$repo/scripts/install.sh"
    python="$repo/.venv/bin/python"
else
    python="$(realpath -s "$(command -v "$DNABERT_NEMO_PYTHON")")"
fi

mkdir -p "$folder/logs"
cd "$folder"
number=0

# step TITLE EXAMPLE ARGUMENT...: runs examples/EXAMPLE.py; the libraries' warnings go to a log, shown if it fails
step() {
    local title="$1" example="$2" began=$SECONDS code
    shift 2
    number=$((number + 1))
    printf '\n[%d/6] %s\n$ python examples/%s.py %s\n' "$number" "$title" "$example" "$*"
    "$python" "$repo/examples/$example.py" "$@" 2>"logs/$example.txt" || {
        code=$?
        cat "logs/$example.txt" >&2
        echo "error: step $number ended with exit code $code" >&2
        exit "$code"
    }
    echo "($((SECONDS - began)) s)"
}

genome=()
pretraining=(
    trainer.max_steps=350 trainer.log_every_n_steps=50 trainer.val_check_interval=175
    model.data.num_validation_samples=1024 model.optim.sched.constant_steps=20
)
finetuning=()
if [[ "${QUICKSTART_FAST:-}" == 1 ]]; then
    genome=(chromosome_length=20000)
    pretraining=(
        trainer.max_steps=4 trainer.log_every_n_steps=1 trainer.val_check_interval=4 model.data.tokens_per_row=1024
        model.data.num_validation_samples=4 model.optim.sched.warmup_steps=1 model.optim.sched.constant_steps=1
    )
    finetuning=(trainer.max_steps=60 trainer.val_check_interval=30)
fi

step "a genome" make_toy_genome \
    output_dir=toy "${genome[@]}"
step "k-mer shards of it" prepare_shards --config-name prepare_shards \
    "input.fasta=[toy/toy.fa]" output_dir=shards "split.validation=[4]" "split.test=[5]" overwrite=true
step "pre-training" pretrain --config-name dnabert_tiny \
    model.data.train=shards/train model.data.validation=shards/validation "${pretraining[@]}"
step "windows around its splice sites" prepare_splice --config-name prepare_splice \
    "input.fasta=[toy/toy.fa]" "input.annotation=[toy/toy.gff3]" output_dir=splice \
    "split.validation=[4]" "split.test=[5]" overwrite=true
step "fine-tuning" finetune --config-name splice \
    restore_from_path=runs/dnabert_tiny/checkpoints/dnabert_tiny.nemo model.data.dataset_path=splice "${finetuning[@]}"
step "a report on the chromosome kept for testing" benchmark_splice --config-name benchmark_splice \
    restore_from_path=runs/splice/checkpoints/splice.nemo dataset_path=splice output_dir=report overwrite=true

cat <<END

finished in $SECONDS s. In $PWD:
  report/report.html                              the splice report above with its curves; report.json has all of its figures
  runs/dnabert_tiny/checkpoints/dnabert_tiny.nemo the pre-trained model
  runs/splice/checkpoints/splice.nemo             the splice-site classifier
  runs/*/train_log.txt                            losses by step; of earlier starts in runs/*/run_*/
  shards/, splice/                                what they were trained on, each with a manifest.json
END
