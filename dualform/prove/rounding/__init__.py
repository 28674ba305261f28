"""Rigorous bounds on the rounding error of a JAX program, derived from the program.

    charges      (R1) what one operation errs, by dtype; (R5) subnormal inputs; charges of exp and its like
    tape, maps   (R2) error identity, (R3) first-order bound by reverse sweeps, (R4) rigorous second order
    elementwise, functions, roots, piecewise, order, contractions (R6), solves (R7): one rule a primitive
    rewrites     what XLA's simplifier changes before compiling
    bound        the entry point;  result: what it returns

What is rigorous: given the local bounds, everything, to all orders and including the rounding of the bound itself.
What is assumed of the compiler, and tested on a CPU:

- the basic operations obey (R1) in their dtype, and functions obey the stated `charges`;
- products are formed in the dtype of the program: no TF32 or bfloat16 passes inside a float32 contraction (on
  accelerators, pin `jax_default_matmul_precision` to highest);
- a contraction is summed by itself, in any order: nothing is added into its accumulator that the program adds later;
- what a loop of two or more trips carries, reads from outside or writes, a product of a matrix with two or more columns
  or rows, and the solution of a linear system are computed once, and every reader sees the same number (R8); *every
  other value* may be computed again by each of its readers, and rounded otherwise each time;
- a product of two matrices reads one copy of each, from memory;
- two operands of one operation that are the same value are the same number (x * x is not negative);
- conversions of floats to integers cut off and saturate, and NaN becomes 0;
- the simplifier makes the `rewrites` listed and no others that round differently;
- linear systems are solved as `solves` says.
"""

from dualform.prove.rounding.bound import rounding_bound
from dualform.prove.rounding.result import VACUOUS, RoundingBound

__all__ = ["VACUOUS", "RoundingBound", "rounding_bound"]
