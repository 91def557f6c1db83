"""Report how classifiers and baselines rank every position of genes that training did not see.

python examples/scan_splice.py --config-name scan_splice dataset_path=splice_hard
input.fasta=[a.fa.gz] input.annotation=[a.gff3.gz] restore_from_path=splice.nemo output_dir=scan
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import command, listed
from dnabert_nemo.downstream.baselines_of_report import asked_baselines
from dnabert_nemo.downstream.classifiers import files_by_name
from dnabert_nemo.downstream.genomes import genomes_of
from dnabert_nemo.downstream.report import report_context
from dnabert_nemo.downstream.scan import held_out_loci
from dnabert_nemo.downstream.scan_plot import check_plots
from dnabert_nemo.downstream.scan_report import MARKDOWN, scan_report
from dnabert_nemo.downstream.scan_rows import check_model, model_score, scan_rows
from dnabert_nemo.downstream.splice_dataset import load_splice_dataset

COMMAND = ["python", *sys.argv]
log = logging.getLogger("dnabert_nemo")


@command("scan_splice")
def main(cfg: DictConfig) -> None:
    check_plots()
    config = OmegaConf.to_container(cfg, resolve=True)
    genomes = genomes_of(config["input"], config["genomes"])
    names, files = asked_baselines(cfg.baselines), files_by_name(listed(cfg.restore_from_path) or ())
    dataset = load_splice_dataset(Path(cfg.dataset_path))
    loci = held_out_loci(dataset, genomes, genes=cfg.genes, seed=cfg.seed)
    log.info("%s positions of %s genes", f"{sum(map(len, loci)):,}", f"{len(loci):,}")
    seeds, models = {"genes, bootstrap and baselines": cfg.seed}, {}
    if files:
        from dnabert_nemo.model import DnabertClassifier, restore

        for name, path in files.items():
            model = restore(path, DnabertClassifier)
            check_model(name, model, dataset.window)
            models[name] = model_score(model, cfg.micro_batch_size)
            seeds[f"training of {name}"] = model.cfg.seed
    context = report_context(
        dataset,
        seeds=seeds,
        command=COMMAND,
        files={f"model {name}": path for name, path in files.items()},
    )
    rows = scan_rows(dataset, loci, models, names, seed=cfg.seed)
    folder = scan_report(
        loci, rows, context, seed=cfg.seed, output_dir=cfg.output_dir, overwrite=cfg.overwrite
    )
    log.info("%s", (folder / MARKDOWN).read_text())


if __name__ == "__main__":
    main()
