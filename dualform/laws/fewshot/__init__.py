"""Laws of a network that learned to use context."""
