"""Planted bugs of chapter 4, the update rules: what is shared, and mistakes by what they are made in."""
