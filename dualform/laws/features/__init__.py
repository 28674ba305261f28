"""Laws of chapter 6, softmax attention in feature space."""
