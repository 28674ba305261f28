"""Laws of rules over many devices."""
