"""Pre-train DNABERT on k-mer shards, on one process or on every rank a launcher starts.

    python examples/pretrain.py --config-name dnabert_86m \\
        model.data.train=shards/train model.data.validation=shards/validation
    torchrun --nproc_per_node 2 examples/pretrain.py --config-name dnabert_tiny \\
        model.tensor_model_parallel_size=2 ...

The same command again goes on from the newest checkpoint. The model is written to
runs/NAME/checkpoints/NAME.nemo when the run ends.
"""

from __future__ import annotations

from omegaconf import DictConfig

from dnabert_nemo.command import command
from dnabert_nemo.training.check import check_pretraining


@command("dnabert_86m")
def main(cfg: DictConfig) -> None:
    check_pretraining(cfg)  # what the config gets wrong is told before NeMo and Megatron are even imported
    from dnabert_nemo.training import build

    data = build.pretraining_data(cfg)
    model = build.pretraining_model(cfg)
    trainer = build.trainer(cfg)
    trainer.fit(model, data)
    model.save_to(str(build.nemo_path(cfg)))


if __name__ == "__main__":
    main()
