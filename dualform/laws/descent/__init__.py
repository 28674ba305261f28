"""Laws of chapter 2, what optimisers make of outer products."""
