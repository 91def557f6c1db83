"""What one rank holds of a model, its optimizer and the micro batches in flight: arithmetic, without torch.

H hidden size, F of the MLP, N heads, V padded vocabulary, M masked places; T tokens of a micro batch on a
rank, R tensor and C context ranks; e bytes of a number, 4 in fp32 and 2 in bf16 and fp16. The activations
are those of Korthikanti et al. 2022 (arXiv:2205.05198), section 4, for the modules this package composes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dnabert_nemo.megatron.bert_shape import POST_LN, BertShape
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.sizes import ParallelSizes

_FP32 = 4
_ID = 8  # int64


@dataclass(frozen=True)
class Parameters:
    """Parameters on one rank.

    Args:
        split: this rank's part of what tensor ranks share.
        alike: what every tensor rank has, the same on all of them.
        copied: the last pipeline stage's copy of its part of the embedding, which its head needs too.
    """

    split: int
    alike: int
    copied: int

    @property
    def total(self) -> int:
        return self.split + self.alike + self.copied


def parameters_of_stage(shape: BertShape, sizes: ParallelSizes, stage: int) -> Parameters:
    """Count what a rank of a pipeline stage holds; over all stages, R x split + alike is the whole model."""
    h, f, vocabulary = shape.hidden_size, shape.ffn_hidden_size, shape.padded_vocab_size
    is_first, is_last = stage == 0, stage == sizes.pipeline - 1
    layers = sum(sizes.layers_of_rank(shape.num_layers, stage))
    split = layers * (4 * h * h + 3 * h + 2 * h * f + f)  # QKV, projection, both of the MLP; biases of two
    alike = layers * (2 * h + 4 * h)  # biases of the other two, which come after the sum; LayerNorms
    if is_first:
        split += vocabulary * h
        alike += shape.max_position_embeddings * h
    if is_last:
        split += vocabulary  # the head's bias
        alike += h * h + h + 2 * h
    if is_first if shape.transformer_block_type == POST_LN else is_last:
        alike += 2 * h  # the LayerNorm outside the layers
    copied = vocabulary * h if is_last and not is_first else 0
    return Parameters(split // sizes.tensor, alike, copied // sizes.tensor)


@dataclass(frozen=True)
class States:
    """Bytes that stay for the whole run: of weights, of the buffer of gradients, of the optimizer.

    The optimizer's are the fp32 main weights beside 16-bit ones and the two moments of Adam; of `shards`
    data-parallel ranks each keeps its part, where the optimizer is distributed (Rajbhandari et al. 2020,
    arXiv:1910.02054, stage 1).
    """

    weights: int
    gradients: int
    main_weights: int
    moments: int

    @classmethod
    def of(cls, num_parameters: int, precision: str, shards: int = 1) -> States:
        own = -(-num_parameters // shards)
        return cls(
            weights=num_parameters * bytes_of(precision),
            gradients=num_parameters * _FP32,
            main_weights=0 if precision == "fp32" else own * _FP32,
            moments=2 * own * _FP32,
        )

    @property
    def optimizer(self) -> int:
        return self.main_weights + self.moments

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer


def bytes_of(precision: str) -> int:
    """Bytes of a weight or an activation."""
    return _FP32 if precision == "fp32" else 2


@dataclass(frozen=True)
class Activations:
    """Bytes that a micro batch leaves for its backward pass on a rank.

    Args:
        tokens: of a micro batch, over all context ranks.
        longest: tokens of the longest segment.
        masked_share: of the tokens, those that reach the head.
        accelerator: gpu, whose attention keeps no scores and whose dropout keeps a byte; or cpu, where torch
            keeps both as numbers wherever there is dropout.
    """

    shape: BertShape
    sizes: ParallelSizes
    recompute: Recompute
    precision: str
    tokens: int
    longest: int
    masked_share: float
    accelerator: str = "gpu"

    @property
    def _here(self) -> int:
        """T, the tokens on this rank."""
        return self.tokens // self.sizes.context

    @property
    def _between(self) -> int:
        """Tokens between the layers, which sequence parallelism splits."""
        return self._here // self.sizes.tensor if self.sizes.sequence_parallel else self._here

    @property
    def hidden(self) -> int:
        """Hidden states between two layers, [T, H]."""
        return bytes_of(self.precision) * self._between * self.shape.hidden_size

    @property
    def _dropout(self) -> int:
        """What dropout of hidden states keeps: which of them were dropped."""
        if self.shape.hidden_dropout == 0:
            return 0
        return self._mask * self._between * self.shape.hidden_size

    @property
    def _mask(self) -> int:
        return 1 if self.accelerator == "gpu" else bytes_of(self.precision)

    @property
    def _norm(self) -> int:
        """The mean and deviation that a LayerNorm keeps of each token."""
        return 2 * self._between * (_FP32 if self.accelerator == "gpu" else bytes_of(self.precision))

    @property
    def qkv(self) -> int:
        """Queries, keys and values, one tensor [T, 3 H / R]."""
        return 3 * bytes_of(self.precision) * self._here * self.shape.hidden_size // self.sizes.tensor

    @property
    def core_attention(self) -> int:
        """What attention over the segments keeps besides `qkv`; selective recomputation forgets it.

        Its output and the logarithm of each softmax's sum, as kernels keep them that store no scores (Dao et
        al. 2022, arXiv:2205.14135); of context ranks, the keys and values of all their tokens.
        """
        if self._keeps_scores:
            return self._scores
        e, sizes = bytes_of(self.precision), self.sizes
        output = e * self._here * self.shape.hidden_size // sizes.tensor
        logarithms = _FP32 * self._here * self.shape.num_attention_heads // sizes.tensor
        gathered = 2 * output * sizes.context if sizes.context > 1 else 0
        return output + logarithms + gathered

    @property
    def _keeps_scores(self) -> bool:
        """Whether torch computes attention step by step, as it does on a CPU where there is dropout."""
        return self.accelerator == "cpu" and self.shape.attention_dropout > 0

    @property
    def _scores(self) -> int:
        """In fp32: queries and keys, scaled; values; scores, factors of dropout and their product."""
        part = _FP32 * self._here * self.shape.hidden_size // self.sizes.tensor
        values = part if self.precision != "fp32" else part * self.sizes.context
        if self._are_values_of_qkv:
            values = 0
        heads = self.shape.num_attention_heads // self.sizes.tensor
        return 2 * part + values + 3 * _FP32 * heads * self._here * self.longest

    @property
    def _are_values_of_qkv(self) -> bool:
        return self.precision == "fp32" and self.sizes.context == 1

    @property
    def _attention(self) -> int:
        """What attention keeps, `qkv` with it unless only copies are used."""
        is_copied = self._keeps_scores and not self._are_values_of_qkv
        return self.core_attention + (0 if is_copied else self.qkv)

    @property
    def layer(self) -> int:
        """A layer of which all is kept.

        The inputs of both LayerNorms, of QKV and of the MLP, 4 e T H; two dropouts; QKV and what attention
        keeps; its output as the projection takes it, e T H / R; the MLP before and after GELU, 2 e T F / R.
        """
        e, tensor = bytes_of(self.precision), self.sizes.tensor
        whole = 4 * self.hidden + 2 * self._dropout + 2 * self._norm
        projected = e * self._here * self.shape.hidden_size // tensor
        mlp = 2 * e * self._here * self.shape.ffn_hidden_size // tensor
        return whole + self._attention + projected + mlp

    def layers(self, num_layers: int) -> int:
        """A run of so many layers, as recomputation leaves it."""
        kept, of_run = self.recompute, self.layer
        if kept.granularity is None:
            return num_layers * of_run
        if kept.granularity == "selective":
            return num_layers * (of_run - self._attention + self.qkv)
        assert kept.num_layers is not None
        if kept.method == "uniform":
            return num_layers // kept.num_layers * self.hidden
        return kept.num_layers * self.hidden + (num_layers - kept.num_layers) * of_run

    @property
    def recomputed(self) -> int:
        """What comes back into being at a time in the backward pass, whatever is in flight."""
        if self.recompute.granularity is None:
            return 0
        if self.recompute.granularity == "selective":
            return self.core_attention
        together = self.recompute.num_layers if self.recompute.method == "uniform" else 1
        return (together or 1) * self.layer

    def runs(self, stage: int) -> tuple[int, ...]:
        """Each run of layers of a pipeline rank with what is at its ends."""
        of_layers = [self.layers(n) for n in self.sizes.layers_of_rank(self.shape.num_layers, stage)]
        is_last_rank, last = stage == self.sizes.pipeline - 1, len(of_layers) - 1
        if stage == 0:
            of_layers[0] += self._embedding()
        for run in range(len(of_layers)):
            is_end = is_last_rank and run == last
            # what goes to the next rank stays until its gradient comes back
            of_layers[run] += self._head() if is_end else self.hidden
        return tuple(of_layers)

    def _embedding(self) -> int:
        """Ids and positions, and the dropout after them; post-LN also the input of its LayerNorm."""
        norm = self.hidden + self._norm if self.shape.transformer_block_type == POST_LN else 0
        return 2 * _ID * self._here + self._dropout + norm

    def _head(self) -> int:
        """The last LayerNorm; at the masked places dense, GELU, LayerNorm, logits; their fp32 softmax."""
        e, masked = bytes_of(self.precision), round(self._here * self.masked_share)
        norm = 0 if self.shape.transformer_block_type == POST_LN else self.hidden + self._norm
        softmax = _FP32 * masked * self.shape.padded_vocab_size // self.sizes.tensor
        return norm + 4 * e * masked * self.shape.hidden_size + softmax + 2 * _ID * masked

    @property
    def gathered(self) -> int:
        """Megatron's one buffer for hidden states that sequence-parallel ranks gather, [T, H]."""
        return self.hidden * self.sizes.tensor if self.sizes.sequence_parallel else 0


def most_in_flight(runs: Sequence[int], stage: int, pipeline: int, num_micro_batches: int) -> tuple[int, int]:
    """Return the most bytes that forward passes ahead of their backward ones hold, and how many they are.

    Megatron's schedules: 1F1B starts with p - stage - 1 forward passes (Narayanan et al. 2021,
    arXiv:2104.04473), so min(p - stage, m) are in flight; interleaved, with v runs of layers, with
    2 (p - stage - 1) + (v - 1) p passes through single runs, in groups of p micro batches.

    Args:
        runs: bytes that a micro batch leaves in each run of layers of this rank.
    """
    num_runs = len(runs)
    total = num_micro_batches * num_runs
    ahead = pipeline - stage - 1 if num_runs == 1 else 2 * (pipeline - stage - 1) + (num_runs - 1) * pipeline
    held, most, most_passes = 0, 0, 0
    for forward in range(total):
        held += runs[forward // pipeline % num_runs]
        if held > most:
            most, most_passes = held, min(forward, ahead) + 1
        if forward >= ahead:
            held -= runs[num_runs - 1 - (forward - ahead) // pipeline % num_runs]
    return most, most_passes
