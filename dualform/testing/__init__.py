"""Hypothesis strategies and profiles for JAX code that computes sums of outer products.

Public, for tests of other people's code too. They solve four known troubles once: compiles per shape
(`shapes`, `tracing`), deadlines and flaky replays (`profiles`), subnormal numbers that XLA flushes to zero,
and float64 that JAX refuses with x64 off (`floats`: NumPy arrays, never JAX arrays).
"""

from dualform.testing.floats import FLOAT_DTYPES as FLOAT_DTYPES
from dualform.testing.floats import floats as floats
from dualform.testing.floats import magnitudes as magnitudes
from dualform.testing.floats import rounded as rounded
from dualform.testing.gates import LOG_DECAYS as LOG_DECAYS
from dualform.testing.gates import MOMENTA as MOMENTA
from dualform.testing.gates import STEP_SIZES as STEP_SIZES
from dualform.testing.gates import log_decays as log_decays
from dualform.testing.gates import momenta as momenta
from dualform.testing.gates import step_sizes as step_sizes
from dualform.testing.keys import KINDS as KINDS
from dualform.testing.keys import duplicate_keys as duplicate_keys
from dualform.testing.keys import keys as keys
from dualform.testing.keys import keys_with_zeros as keys_with_zeros
from dualform.testing.keys import orthonormal_keys as orthonormal_keys
from dualform.testing.keys import rank_deficient_keys as rank_deficient_keys
from dualform.testing.keys import unit_keys as unit_keys
from dualform.testing.optimizers import STEP_COUNTS as STEP_COUNTS
from dualform.testing.optimizers import OptimizerRun as OptimizerRun
from dualform.testing.optimizers import optimizer_runs as optimizer_runs
from dualform.testing.optimizers import optimizers as optimizers
from dualform.testing.problems import LinearProblem as LinearProblem
from dualform.testing.problems import float_dtypes as float_dtypes
from dualform.testing.problems import integer_problems as integer_problems
from dualform.testing.problems import largest_exact_integer as largest_exact_integer
from dualform.testing.problems import linear_problems as linear_problems
from dualform.testing.profiles import PROFILES as PROFILES
from dualform.testing.profiles import load_profile as load_profile
from dualform.testing.profiles import register_profiles as register_profiles
from dualform.testing.shapes import BUCKETS as BUCKETS
from dualform.testing.shapes import LAYER_SHAPES as LAYER_SHAPES
from dualform.testing.shapes import LayerShape as LayerShape
from dualform.testing.shapes import TokenShape as TokenShape
from dualform.testing.shapes import bucket as bucket
from dualform.testing.shapes import layer_shapes as layer_shapes
from dualform.testing.shapes import pad_to_bucket as pad_to_bucket
from dualform.testing.shapes import token_counts as token_counts
from dualform.testing.shapes import token_shapes as token_shapes
from dualform.testing.tracing import jitted as jitted
from dualform.testing.tracing import max_traces as max_traces
from dualform.testing.values import FAMILIES as FAMILIES
from dualform.testing.values import arrays as arrays
from dualform.testing.values import elementwise_arrays as elementwise_arrays
from dualform.testing.values import seeded_array as seeded_array
