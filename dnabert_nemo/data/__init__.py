"""From a shard set to training steps: a sampling plan, packed and masked rows, the Lightning data module."""
