"""FASTA and GFF3 or GTF to a splice-site data set: `finetune.py` reads what it writes.

python examples/prepare_splice.py --config-name prepare_splice \
    input.fasta=[a.fa.gz] input.annotation=[a.gff3.gz] output_dir=splice
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import command, keyed, listed
from dnabert_nemo.downstream.genomes import genomes_of
from dnabert_nemo.downstream.prepare import SpliceSettings, prepare_splice
from dnabert_nemo.shards.splits import SplitSettings


@command("prepare_splice")
def main(cfg: DictConfig) -> None:
    """Check the config, then write the data set."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    split = keyed(config, "split")
    prepare_splice(
        genomes_of(keyed(config, "input"), config["genomes"]),
        output_dir=Path(config["output_dir"]),
        settings=SpliceSettings(**{key: config[key] for key in ("protocol", "window", "per_class", "seed")}),
        split=SplitSettings(
            validation=listed(split["validation"]),
            test=listed(split["test"]),
            fractions=split["fractions"],
        ),
        overwrite=config["overwrite"],
    )


if __name__ == "__main__":
    main()
