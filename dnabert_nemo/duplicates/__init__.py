"""Near-duplicate windows of genomes, found on disk; `shards` comes before it, and can take what it keeps."""
