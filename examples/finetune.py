"""Fine-tune a pre-trained DNABERT on a task, or on the windows of a splice dataset.

    python examples/finetune.py task=gue/prom_core_all restore_from_path=dnabert.nemo
    python examples/finetune.py --config-name splice restore_from_path=dnabert.nemo
    model.data.dataset_path=splice

The same command again goes on from the newest checkpoint. The classifier is written to
runs/NAME/checkpoints/NAME.nemo when the run ends; benchmark_task.py or benchmark_splice.py scores it.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import command
from dnabert_nemo.downstream.prepare_task import prepare_if_missing
from dnabert_nemo.downstream.task_dataset import check_lengths, load_dataset
from dnabert_nemo.downstream.task_settings import task_of


@command("finetune")
def main(cfg: DictConfig) -> None:
    folder = Path(cfg.model.data.dataset_path)
    if cfg.get("task") is not None:
        prepare_if_missing(*task_of(OmegaConf.to_container(cfg.task, resolve=True)), folder)
    dataset = load_dataset(folder)
    from dnabert_nemo.training import build

    cfg = build.with_encoder(cfg)
    check_lengths(dataset, k=cfg.model.tokenizer.k, max_positions=cfg.model.max_position_embeddings)
    data = build.labelled_data(cfg, dataset.splits["train"], dataset.splits["validation"])
    model = build.classifier(cfg, dataset.labels, data)
    trainer = build.trainer(cfg)
    trainer.fit(model, data)
    build.take_best(cfg, model)
    model.save_to(str(build.nemo_path(cfg)))


if __name__ == "__main__":
    main()
