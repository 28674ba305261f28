"""Softmax attention over blocks, (SX1) to (SX7)."""
