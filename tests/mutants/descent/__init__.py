"""Planted bugs of chapter 2, what optimisers write."""
