"""From a config to a run: checks, data, model, and Lightning's trainer around Megatron's ranks."""
