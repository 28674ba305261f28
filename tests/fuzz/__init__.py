"""Two adversarial generators: random programs against their bounds, and random identities against their verdicts."""
