"""Turn a HuggingFace folder, such as the original DNABERT's, into a .nemo file.

python examples/import_huggingface.py input=DNA_bert_6 output=dna_bert_6.nemo
"""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.command import command
from dnabert_nemo.training.check_export import check_import

log = logging.getLogger("dnabert_nemo")


@command("import_huggingface")
def main(cfg: DictConfig) -> None:
    """Check the paths, then read and write."""
    check_import(cfg)
    from dnabert_nemo.model import huggingface, nemo_file

    imported = huggingface.read_folder(Path(cfg.input))
    for note in imported.notes:
        log.info("%s", note)
    file = imported.file
    nemo_file.write(Path(cfg.output), file.config, file.vocabulary, file.weights)
    log.info("%s: written from %s", cfg.output, cfg.input)


if __name__ == "__main__":
    main()
