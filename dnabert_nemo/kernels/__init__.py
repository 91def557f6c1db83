"""Fused kernels, each beside its twin in plain torch; `choose` says which of them a run uses."""
