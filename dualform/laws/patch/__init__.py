"""Laws of chapter 7, a context as a patch of the next weight."""
