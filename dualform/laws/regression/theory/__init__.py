"""Limits, risks, rates and gradient flow, (RK1) to (RK27)."""
