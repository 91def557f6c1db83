"""DNABERT on NeMo and megatron-core: genome to k-mer shards to a pre-trained model to a splice-site report."""

__version__ = "0.1.0"
