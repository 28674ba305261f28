"""Laws of chapter 1, the linear layer updated by outer products."""
