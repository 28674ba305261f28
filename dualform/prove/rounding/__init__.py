"""Rigorous bounds on the rounding error of a JAX program, derived from the program.

    charges      (R1) what one operation errs, by dtype; (R5) subnormal inputs; charges of exp and its like
    tape, maps   (R2) error identity, (R3) first-order bound by reverse sweeps, (R4) rigorous second order
    elementwise, roots, piecewise, contractions (R6), solves (R7): one rule a primitive
    rewrites     what XLA's simplifier changes before compiling
    bound        the entry point

What is rigorous: given the local bounds, everything, to all orders and including the rounding of the bound itself.
What is assumed of the compiler, and tested on a CPU:

- the basic operations obey (R1) in their dtype, and functions obey the stated `charges`;
- products are formed in the dtype of the program: no TF32 or bfloat16 passes inside a float32 contraction (on
  accelerators, pin `jax_default_matmul_precision` to highest);
- a contraction is summed by itself, in any order: nothing is added into its accumulator that the program adds later;
- a value is computed once, or in the same way by every reader, but for products (FMA), quotients (reciprocals) and
  values of 16 bits (excess precision), which every reader may round for itself;
- the simplifier makes the `rewrites` listed and no others that round differently;
- linear systems are solved as `solves` says.
"""

from dualform.prove.rounding.bound import rounding_bound

__all__ = ["rounding_bound"]
