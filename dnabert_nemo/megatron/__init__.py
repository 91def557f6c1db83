"""BERT over tensor, pipeline, sequence and data parallel ranks: only this folder imports megatron-core."""
