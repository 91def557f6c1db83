"""The speed of pre-training beside its peers: rows in processes of their own, which take turns.

`settings` is read from the config; `parts` runs one part after the other (`sections`, `sweeps`, `ranks`,
`inference`, `loader`), each of which has `group` measure rows (`ours`, `peers`) in a `worker` each, on the
same `samples`; `figures`, `plots` and `report` write down what came out.
"""
