"""Rigorous bounds on the rounding error of a JAX program, derived from the program.

charges      (R1) what one operation errs, by dtype; charges of exp and its like
tape, maps   (R2) error identity, (R3) first-order bound by reverse sweeps, (R4) rigorous second order
elementwise, roots, piecewise, contractions (R6), solves (R7): one rule a primitive
rewrites     what XLA's simplifier changes before compiling
bound        the entry point; (R5) underflow of inputs
"""

from dualform.prove.rounding.bound import rounding_bound

__all__ = ["rounding_bound"]
