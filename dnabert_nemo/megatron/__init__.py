"""BERT over tensor, pipeline, sequence and data parallel ranks: the only folder that imports megatron-core."""
