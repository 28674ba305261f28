"""Planted bugs of chapter 9, regression in context."""
