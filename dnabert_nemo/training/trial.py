"""Training without a run around it: a model, its optimizer and made-up rows, to time, weigh and compare."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dnabert_nemo.data.batch import MicroBatch, positions_in
from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.kmer.vocabulary import NUM_SPECIALS, Vocabulary
from dnabert_nemo.megatron import engine, topology, weights
from dnabert_nemo.megatron.bert import BertForMaskedLM, build
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.losses import MASKED_LM_SUMS, MaskedLMLoss
from dnabert_nemo.megatron.optimizer import MegatronAdamW
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.shape import transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes

_ONE_IN = 7  # tokens is masked in a made-up row: about 15 %


class Trial:
    """A masked language model in training on this rank: each `step` is a whole one, as in a run.

    Args:
        shape: its vocabulary is that of k-mers of `k` bases.
        precision: fp32, bf16 or fp16.
    """

    def __init__(
        self,
        shape: BertShape,
        *,
        k: int,
        precision: str = "fp32",
        sizes: ParallelSizes | None = None,
        kernels: Kernels | None = None,
        recompute: Recompute | None = None,
        optimizer: OptimizerSettings | None = None,
        seed: int = 1,
        last_layer_where_read: bool = True,
    ) -> None:
        sizes, optimizer = sizes or ParallelSizes(), optimizer or OptimizerSettings()
        topology.start(sizes, seed)
        config = transformer_config(
            shape, sizes, precision, recompute, kernels, last_layer_where_read=last_layer_where_read
        )
        self.module = build(lambda run: BertForMaskedLM(config, shape, run))
        weights.initialize(self.module, shape, seed)
        self.module.to(topology.device())
        self.ddp = engine.data_parallel(self.module, distributed_optimizer=optimizer.distributed)
        self.optimizer = MegatronAdamW(self.ddp, optimizer)
        self.loss: engine.Loss = MaskedLMLoss(k, config.kernels.cross_entropy)

    def step(self, micro_batches: Sequence[MicroBatch]) -> torch.Tensor:
        """Take a training step on micro batches of one size; return MASKED_LM_SUMS, on the device."""
        here = [each.to(topology.device(), non_blocking=True) for each in micro_batches]
        self.optimizer.zero_grad()
        sums = engine.run_step(
            self.ddp,
            here,
            self.loss,
            hidden_tokens=here[0].ids.numel(),
            num_sums=len(MASKED_LM_SUMS),
            training=True,
        )
        self.optimizer.step()
        return sums


def made_up_batch(lengths: Sequence[int], *, k: int, seed: int) -> MicroBatch:
    """Make segments of random k-mers of these lengths, end to end, one token in seven masked."""
    num_tokens = sum(lengths)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(NUM_SPECIALS, len(Vocabulary(k)), (num_tokens,), generator=generator)
    masked_at = torch.arange(0, num_tokens, _ONE_IN)
    none = torch.empty(0, dtype=torch.int64)
    return MicroBatch(
        ids=ids,
        positions=positions_in(lengths),
        segment_lengths=tuple(lengths),
        masked_at=masked_at,
        labels=ids[masked_at],
        hidden_token=none,
        hidden_offset=none,
        hidden_base=none,
        num_tokens=num_tokens,
        num_samples=len(lengths),
    )
