"""Fine-tune a pre-trained DNABERT on the windows of a splice dataset.

    python examples/finetune.py --config-name splice restore_from_path=dnabert.nemo
    model.data.dataset_path=splice

The same command again goes on from the newest checkpoint. The classifier is written to
runs/NAME/checkpoints/NAME.nemo when the run ends; benchmark_splice.py scores it.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.command import command
from dnabert_nemo.downstream.splice_dataset import LABELS, load_splice_dataset


@command("splice")
def main(cfg: DictConfig) -> None:
    dataset = load_splice_dataset(Path(cfg.model.data.dataset_path))
    from dnabert_nemo.training import build

    cfg = build.with_encoder(cfg)
    data = build.labelled_data(cfg, dataset.splits["train"], dataset.splits["validation"])
    model = build.classifier(cfg, LABELS, data)
    trainer = build.trainer(cfg)
    trainer.fit(model, data)
    build.take_best(cfg, model)
    model.save_to(str(build.nemo_path(cfg)))


if __name__ == "__main__":
    main()
