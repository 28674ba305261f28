"""Laws of chapter 5, attention as an update of weights: in context, with a softmax, with momentum."""
