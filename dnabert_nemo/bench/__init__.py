"""Benchmarks: each figure a ratio to a named peer in the same run; the last room, it uses all others."""
