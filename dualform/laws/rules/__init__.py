"""Laws of chapter 4, the update rules."""
