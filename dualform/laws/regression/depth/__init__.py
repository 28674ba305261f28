"""Depth and curvature, (DE1) to (DE17)."""
