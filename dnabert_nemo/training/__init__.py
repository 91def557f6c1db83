"""From a config to a run: checks, the data module, the model, and Lightning's trainer around Megatron's ranks."""
