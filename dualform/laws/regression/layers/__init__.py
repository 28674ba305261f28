"""Linear self-attention and its constructions, (LS1) to (LS15)."""
