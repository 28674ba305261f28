"""Laws of chapter 9, regression in context."""
