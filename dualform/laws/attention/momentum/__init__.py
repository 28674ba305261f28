"""Momentum attention, (MA1) to (MA11)."""
