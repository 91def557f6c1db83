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
        masked_share: of the tokens, those that reach the head, and what of the last layer is theirs alone.
        accelerator: gpu or cpu, whose kernels, those of model.kernels=auto, keep different things.
    """

    shape: BertShape
    sizes: ParallelSizes
    recompute: Recompute
    precision: str
    tokens: int
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
    def _masked(self) -> int:
        """M, the places that reach the head."""
        return round(self._here * self.masked_share)

    @property
    def _read(self) -> int | None:
        """Tokens that the last layer computes, None where it computes all of them."""
        whole = self.sizes.sequence_parallel or self.sizes.context > 1 or self.precision == "fp8"
        return None if whole else self._masked

    @property
    def read_share(self) -> float:
        """Of the tokens, those that the last layer computes."""
        return 1.0 if self._read is None else self.masked_share

    @property
    def hidden(self) -> int:
        """Hidden states between two layers, [T, H]."""
        return self._hidden(self._between)

    def _hidden(self, tokens: int) -> int:
        return bytes_of(self.precision) * tokens * self.shape.hidden_size

    def _dropout(self, tokens: int) -> int:
        """What dropout of hidden states keeps: a byte for each, whether it was dropped; on a CPU a seed.

        So does torch on a GPU. Triton's kernel keeps a seed too, which for 16 bit makes this 6 % of a layer
        too many on Ampere and later.
        """
        is_drawn_again = self.accelerator == "cpu"
        return 0 if self.shape.hidden_dropout == 0 or is_drawn_again else tokens * self.shape.hidden_size

    def _norm(self, tokens: int) -> int:
        """The mean and deviation that a LayerNorm keeps of each token."""
        return 2 * tokens * (_FP32 if self.accelerator == "gpu" else bytes_of(self.precision))

    @property
    def qkv(self) -> int:
        """Queries, keys and values, one tensor [T, 3 H / R]."""
        return 3 * self._hidden(self._here) // self.sizes.tensor

    @property
    def core_attention(self) -> int:
        """What attention over the segments keeps besides `qkv`; selective recomputation forgets it."""
        return self._core_attention(self._here)

    def _core_attention(self, queries: int) -> int:
        """Its output, beside the copy that the projection takes, and the logarithm of each softmax's sum.

        Kernels that store no scores keep these (Dao et al. 2022, arXiv:2205.14135), those of a GPU the output
        itself as the projection takes it. Blocks with dropout on a CPU keep neither. Of context ranks it
        also has the keys and values of all their tokens.
        """
        output = self._hidden(queries) // self.sizes.tensor
        gathered = 2 * output * self.sizes.context if self.sizes.context > 1 else 0
        if self.accelerator == "cpu" and self.shape.attention_dropout > 0:
            return gathered
        logarithms = _FP32 * queries * self.shape.num_attention_heads // self.sizes.tensor
        return (output if self.accelerator == "cpu" else 0) + logarithms + gathered

    @property
    def layer(self) -> int:
        """A layer of which all is kept.

        The inputs of both LayerNorms, of QKV and of the MLP, 4 e T H; two dropouts; QKV and what attention
        keeps; its output as the projection takes it, e T H / R; the MLP before and after GELU, 2 e T F / R.
        """
        around = 4 * self.hidden + 2 * self._dropout(self._between) + 2 * self._norm(self._between)
        return around + self.qkv + self.core_attention + self._products(self._here)

    def _products(self, tokens: int) -> int:
        """What the projection and both products of the MLP are given."""
        inner = 2 * bytes_of(self.precision) * tokens * self.shape.ffn_hidden_size
        return (self._hidden(tokens) + inner) // self.sizes.tensor

    def _last_layer(self, *, of_attention: bool = True) -> int:
        """The last layer of all: keys and values of all tokens, the rest of those that are read.

        Its two products of QKV take their weights, 3 e H^2 / R, and the queries' input apart. Whole
        are the inputs of keys and values and, in pre-LN, of the LayerNorm before them.
        """
        if self._read is None:
            return self.layer if of_attention else self.layer - self.core_attention
        read, h, tensor = self._read, self.shape.hidden_size, self.sizes.tensor
        before = self._hidden(self._here) + self._hidden(read) + self._norm(read)
        if self.shape.transformer_block_type != POST_LN:
            before = 2 * self._hidden(self._here) + self._norm(self._here)
        after = 2 * self._hidden(read) + 2 * self._dropout(read) + self._norm(read)
        qkv = (2 * self._hidden(self._here) + self._hidden(read) + 3 * self._hidden(h)) // tensor
        core = self._core_attention(read) if of_attention else 0
        return before + after + qkv + self._hidden(read) + core + self._products(read)

    def layers(self, num_layers: int, *, has_last: bool = False) -> int:
        """A run of so many layers, as recomputation leaves it; `has_last`: the last of all is its last."""
        kept = self.recompute
        last = self._last_layer(of_attention=kept.granularity is None) if has_last else 0
        others = num_layers - has_last
        if kept.granularity is None:
            return others * self.layer + last
        if kept.granularity == "selective":
            return others * (self.layer - self.core_attention) + last
        assert kept.num_layers is not None
        if kept.method == "uniform":
            return num_layers // kept.num_layers * self.hidden
        whole = num_layers - kept.num_layers
        if whole and has_last:
            return kept.num_layers * self.hidden + (whole - 1) * self.layer + self._last_layer()
        return kept.num_layers * self.hidden + whole * self.layer

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
        num_layers = self.sizes.layers_of_rank(self.shape.num_layers, stage)
        is_last_rank, last = stage == self.sizes.pipeline - 1, len(num_layers) - 1
        of_layers = [
            self.layers(n, has_last=is_last_rank and run == last) for run, n in enumerate(num_layers)
        ]
        if stage == 0:
            of_layers[0] += self._embedding()
        for run in range(len(of_layers)):
            is_end = is_last_rank and run == last
            # what goes to the next rank stays until its gradient comes back
            of_layers[run] += self._head() if is_end else self.hidden
        return tuple(of_layers)

    def _embedding(self) -> int:
        """Ids and positions, and the dropout after them; post-LN also the input of its LayerNorm."""
        is_post = self.shape.transformer_block_type == POST_LN
        norm = self.hidden + self._norm(self._between) if is_post else 0
        return 2 * _ID * self._here + self._dropout(self._between) + norm

    def _head(self) -> int:
        """The last LayerNorm; at the masked places dense, GELU, LayerNorm, logits; their fp32 softmax."""
        e, masked = bytes_of(self.precision), self._masked
        normed = self._between if self._read is None else masked
        is_post = self.shape.transformer_block_type == POST_LN
        norm = 0 if is_post else self._hidden(normed) + self._norm(normed)
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
