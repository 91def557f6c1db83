"""k-mer ids of bases, their vocabulary and masking; `genome` comes before it, `shards` and `data` after."""
