"""DNABERT on NeMo and megatron-core: genome, k-mer shards, pre-trained model, splice-site report."""

__version__ = "0.1.0"
