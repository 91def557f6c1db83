"""The FLOPs that training takes by its model's shape, as efficiency is reckoned (MFU); needs no torch."""

from __future__ import annotations

from dnabert_nemo.megatron.bert_shape import BertShape


def flops_per_token(shape: BertShape, mean_attended: float, read_share: float = 1.0) -> float:
    """Return the FLOPs of training the language model on a token, forward and backward.

        6 (L - 1) (4 h^2 + 2 h f) + 12 (L - 1) h s
        + 6 (2 h^2 + r (2 h^2 + 2 h f)) + 12 r h s + 6 r (h^2 + h V)

    s, `mean_attended`, is how many tokens a token attends to in the mean. In packed rows that is the sum of
    the squared lengths of the segments over that of their lengths; it is the length where all are as long.
    r, `read_share`, is the share of the tokens whose output is read, about 15 % in training. All but the
    keys and values of the last layer, and the head, is computed for these alone. With r = 1 it is the count
    of a model that computes everything, 6 L (4 h^2 + 2 h f) + 12 L h s + 6 (h^2 + h V). Norms, biases,
    softmax and what recomputation repeats are not counted.
    """
    h, f, v = shape.hidden_size, shape.ffn_hidden_size, shape.padded_vocab_size
    before, read = shape.num_layers - 1, read_share
    layers = 6 * before * (4 * h * h + 2 * h * f) + 12 * before * h * mean_attended
    last = 6 * (2 * h * h + read * (2 * h * h + 2 * h * f)) + 12 * read * h * mean_attended
    return layers + last + 6 * read * (h * h + h * v)
