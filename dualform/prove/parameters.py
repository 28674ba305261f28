"""Which parameters of a primitive the engine knows. Another one could change what the primitive means.

A missing parameter and an unknown one are errors, never a guess: releases of JAX rename and add them. An unknown one that
is off (None, False or empty) asks for nothing.
"""

import jax

from dualform._jax import NEWEST
from dualform.prove.errors import ProofError, where

HINTS = frozenset({"accuracy", "sharding", "out_sharding", "out_dtype", "precision", "preferred_element_type"})
"""Where a result lies, in which type, and how precisely it is computed: the types stand in the program as well."""

SCATTER = "dimension_numbers indices_are_sorted unique_indices mode update_jaxpr update_consts"
WINDOW = "window_dimensions window_strides padding base_dilation window_dilation"

KNOWN: dict[str, frozenset[str]] = {
    name: frozenset(parameters.split())
    for names, parameters in {
        "broadcast_in_dim": "shape broadcast_dimensions",
        "reshape": "new_sizes dimensions",
        "squeeze expand_dims rev": "dimensions",
        "transpose": "permutation",
        "tile": "reps",
        "slice": "start_indices limit_indices strides",
        "concatenate": "dimension",
        "stack unstack": "axis dimension",
        "split": "axis sizes",
        "pad": "padding_config",
        "dynamic_slice": "slice_sizes",
        "dynamic_update_slice select_n": "",
        "gather": "dimension_numbers slice_sizes indices_are_sorted unique_indices mode fill_value",
        "scatter scatter-add scatter_add scatter-sub scatter-mul": SCATTER,
        "iota": "dtype shape dimension",
        "convert_element_type": "new_dtype weak_type",
        "reduce_precision": "exponent_bits mantissa_bits",
        "integer_pow": "y",
        "round": "rounding_method",
        "polynomial": "unroll",
        "reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or": "axes",
        "argmax argmin": "axes index_dtype",
        "cumsum cumprod cummax cummin": "axis reverse",
        "dot_general": "dimension_numbers",
        "triangular_solve": "left_side lower transpose_a conjugate_a unit_diagonal",
        "conv_general_dilated": "window_strides padding lhs_dilation rhs_dilation dimension_numbers feature_group_count "
        "batch_group_count",
        "reduce_window_sum": WINDOW,
        "sort": "dimension is_stable num_keys",
        "scan": "length reverse unroll jaxpr num_consts num_carry ft_in ft_out linear _split_transpose",
        "while": "cond_jaxpr cond_nconsts body_jaxpr body_nconsts",
        "cond": "branches branches_platforms",
        "custom_linear_solve": "const_lengths jaxprs",
        "call_hi_primitive": "_prim",
    }.items()
    for name in names.split()
}
"""What a primitive that is not listed has beside `HINTS`: nothing."""


def check(eqn, otherwise: frozenset[str] | None = None) -> None:
    """The error for a parameter that the engine does not know.

    Args:
        eqn: an equation.
        otherwise: what an unlisted primitive may have; None for anything.
    """
    known = KNOWN.get(eqn.primitive.name, otherwise)
    if known is None or eqn.params.keys() <= known:
        return
    for name, value in eqn.params.items():
        if name not in known and name not in HINTS and value is not None and value is not False and value != ():
            raise ProofError(f"{_of(eqn)} has the parameter '{name}', which this engine does not know ({where(eqn)})")


def missing(eqn, name) -> ProofError:
    """The error for a parameter that the engine looked up in vain."""
    return ProofError(f"{_of(eqn)} lacks '{name}', which this engine reads ({where(eqn)})")


def _of(eqn) -> str:
    return f"primitive '{eqn.primitive.name}' of JAX {jax.__version__} (tried up to {NEWEST})"
