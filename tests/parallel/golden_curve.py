"""The losses of 50 steps of the tiny model of `ranks` on one rank, at fp32 with dropout 0.

They change with the samples, masks, first weights, arithmetic or optimizer, and with nothing else: a change
of any of these is told in the changelog, and the numbers are made anew by `ranks.curve`.
"""

# fmt: off
GOLDEN_CURVE = (
    4.211446, 4.238473, 4.224696, 4.191704, 4.199825, 4.211495, 4.170902, 4.217682, 4.195826, 4.195325,
    4.146268, 4.159577, 4.225132, 4.164397, 4.126983, 4.159643, 4.104303, 4.174877, 4.098299, 4.138169,
    4.131627, 4.108630, 4.087699, 4.135953, 4.087944, 4.134959, 4.144229, 4.124783, 4.182307, 4.091079,
    4.090314, 4.082551, 4.041046, 4.169555, 4.070515, 4.110909, 4.166543, 4.231415, 4.077622, 4.157703,
    4.187379, 4.106744, 4.193313, 4.211603, 4.124933, 4.123202, 4.092075, 4.156180, 4.158086, 4.115173,
)
# fmt: on
