"""Turn a checkpoint, of any layout of ranks, into a .nemo file; or either into a HuggingFace folder.

python examples/export.py checkpoint=runs/dnabert_86m/checkpoints/step=1000.ckpt output=step1000.nemo
python examples/export.py checkpoint=step1000.nemo output=step1000 format=huggingface

One process on any machine does, with or without a GPU. Of a folder of checkpoints it is the newest.
"""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.command import command
from dnabert_nemo.training.check_export import check_export

log = logging.getLogger("dnabert_nemo")


@command("export")
def main(cfg: DictConfig) -> None:
    """Check the paths, then read and write."""
    check_export(cfg)
    from dnabert_nemo.model import export, huggingface, nemo_file

    source, output = Path(cfg.checkpoint), Path(cfg.output)
    file = export.read_model(source)
    if cfg.format == "huggingface":
        huggingface.write_folder(output, file, str(source))
    else:
        nemo_file.write(output, file.config, file.vocabulary, file.weights)
    log.info("%s: written from %s", output, source)


if __name__ == "__main__":
    main()
