"""In-context learning and finetuning as updates, (IC1) to (IC11)."""
