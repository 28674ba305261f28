"""Training and comparing layers, (TR1) to (TR14)."""
