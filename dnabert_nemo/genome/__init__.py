"""Genomes in: FASTA to base codes, GFF3 to transcripts and splice sites; `kmer` comes after it."""
