"""Which parameters of a primitive the engine knows. Another one could change what the primitive means.

A missing parameter and an unknown one are errors, never a guess: releases of JAX rename and add them. An unknown one
that is off (None, False or empty) asks for nothing.
"""

import jax

from dualform._jax import NEWEST
from dualform.prove.errors import ProofError, where

HINTS = frozenset({"accuracy", "sharding", "out_sharding", "out_dtype", "precision", "preferred_element_type"})
"""Where a result lies, in which type, and how precisely it is computed: the types stand in the program as well."""

TABLE = {
    "broadcast_in_dim": "shape broadcast_dimensions",
    "reshape": "new_sizes? dimensions?",
    "squeeze expand_dims": "dimensions?",
    "rev": "dimensions",
    "transpose": "permutation",
    "tile": "reps",
    "slice": "start_indices limit_indices strides",
    "concatenate": "dimension",
    "stack unstack": "axis",
    "split": "axis sizes",
    "pad": "padding_config",
    "dynamic_slice": "slice_sizes",
    "dynamic_update_slice select_n": "",
    "gather": "dimension_numbers slice_sizes indices_are_sorted unique_indices mode fill_value",
    "scatter scatter-add scatter_add scatter-sub scatter-mul":
        "dimension_numbers indices_are_sorted unique_indices mode update_jaxpr update_consts",
    "iota": "dtype shape dimension",
    "convert_element_type": "new_dtype weak_type?",
    "reduce_precision": "exponent_bits mantissa_bits",
    "integer_pow": "y",
    "round": "rounding_method",
    "polynomial": "unroll?",
    "reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or": "axes",
    "argmax argmin": "axes index_dtype",
    "cumsum cumprod cummax cummin cumlogsumexp": "axis reverse",
    "dot_general": "dimension_numbers",
    "triangular_solve": "left_side lower transpose_a conjugate_a? unit_diagonal",
    "conv_general_dilated": "window_strides padding lhs_dilation rhs_dilation dimension_numbers feature_group_count "
        "batch_group_count",
    "reduce_window_sum reduce_window_max reduce_window_min":
        "window_dimensions window_strides padding base_dilation window_dilation",
    "sort": "dimension is_stable? num_keys",
    "top_k": "k axis? is_stable?",
    "scan": "length reverse jaxpr num_consts? num_carry? ft_in? ft_out? unroll?",
    "while": "cond_jaxpr cond_nconsts body_jaxpr body_nconsts",
    "cond": "branches branches_platforms?",
    "custom_linear_solve": "const_lengths jaxprs",
    "call_hi_primitive": "_prim",
}  # fmt: skip
"""What a primitive must have, and with a question mark may have, beside `HINTS`; another one has nothing."""

ROWS = [(name, row.split()) for names, row in TABLE.items() for name in names.split()]
NEEDED = {name: frozenset(x for x in row if x[-1] != "?") for name, row in ROWS}
KNOWN = {name: frozenset(x.rstrip("?") for x in row) for name, row in ROWS}
NOTHING: frozenset[str] = frozenset()


def check(eqn, interpreted: bool) -> None:
    """The error for a parameter that is missing, or that the engine does not know.

    Args:
        eqn: an equation.
        interpreted: whether a primitive without an entry has a rule, and so must have no parameters.
    """
    name, given = eqn.primitive.name, eqn.params.keys()
    if name not in KNOWN and not interpreted:
        return
    needed, known = NEEDED.get(name, NOTHING), KNOWN.get(name, NOTHING)
    if needed <= given <= known:
        return
    for parameter in sorted(needed - given):
        raise missing(eqn, parameter)
    for parameter in sorted(given - known - HINTS):
        value = eqn.params[parameter]
        if value is not None and value is not False and value != ():
            says = f"has the parameter '{parameter}', which the engine does not know"
            raise ProofError(f"{_described(eqn)} {says} ({where(eqn)})")


def missing(eqn, parameter) -> ProofError:
    """The error for a parameter that the engine needs and does not find."""
    return ProofError(f"{_described(eqn)} has no parameter '{parameter}', which the engine reads ({where(eqn)})")


def _described(eqn) -> str:
    return f"primitive '{eqn.primitive.name}' in JAX {jax.__version__} (the engine knows JAX up to {NEWEST})"
