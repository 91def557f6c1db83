"""The FLOPs that training takes by its model's shape, as efficiency is reckoned (MFU); needs no torch."""

from __future__ import annotations

from dnabert_nemo.megatron.bert_shape import BertShape


def flops_per_token(
    shape: BertShape, mean_attended: float, read_share: float = 1.0, head_share: float | None = None
) -> float:
    """Return the FLOPs of training the language model on a token, forward and backward.

        6 (L - 1) (4 h^2 + 2 h f) + 12 (L - 1) h s
        + 6 (2 h^2 + r (2 h^2 + 2 h f)) + 12 r h s + 6 m (h^2 + h V)

    s, `mean_attended`, is how many tokens a token attends to in the mean. In packed rows that is the sum of
    the squared lengths of the segments over that of their lengths; it is the length where all are as long.
    r, `read_share`, is the share of the tokens for which the last layer is computed, but for its keys and
    values: those whose output is read, about 15 % in training. m, `head_share`, is that for which the head
    is; None means the same. With r = m = 1 it is the count of a model that computes everything,
    6 L (4 h^2 + 2 h f) + 12 L h s + 6 (h^2 + h V). Norms, biases, softmax and what recomputation repeats
    are not counted.
    """
    h, f, v = shape.hidden_size, shape.ffn_hidden_size, shape.padded_vocab_size
    before, read = shape.num_layers - 1, read_share
    mapped = read_share if head_share is None else head_share
    layers = 6 * before * (4 * h * h + 2 * h * f) + 12 * before * h * mean_attended
    last = 6 * (2 * h * h + read * (2 * h * h + 2 * h * f)) + 12 * read * h * mean_attended
    return layers + last + 6 * mapped * (h * h + h * v)
