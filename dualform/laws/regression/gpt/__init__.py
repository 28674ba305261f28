"""The small GPT and its baselines, (GP1) to (GP12)."""
