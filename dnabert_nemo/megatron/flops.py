"""The FLOPs that training takes by its model's shape, as efficiency is reckoned (MFU); needs no torch."""

from __future__ import annotations

from dnabert_nemo.megatron.bert_shape import BertShape


def flops_per_token(shape: BertShape, mean_attended: float) -> float:
    """Return the FLOPs of training the language model on a token, forward and backward.

        6 L (4 h^2 + 2 h f) + 12 L h s + 6 (h^2 + h V)

    s, `mean_attended`, is how many tokens a token attends to in the mean. In packed rows that is the sum of
    the squared lengths of the segments over that of their lengths; it is the length where all are as long.
    The last term, the head, is counted for every token, as for models that predict all of them; here only
    masked places (about 15 %) pass through it, so the figure flatters, by 0.6 % at k = 3 and 3.4 % at k = 6
    for the 86M shape. Norms, biases, softmax and what recomputation repeats are not counted.
    """
    h, f, layers, v = shape.hidden_size, shape.ffn_hidden_size, shape.num_layers, shape.padded_vocab_size
    return 6 * layers * (4 * h * h + 2 * h * f) + 12 * layers * h * mean_attended + 6 * (h * h + h * v)
