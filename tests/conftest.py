"""Settings of the whole suite: the Hypothesis profile, strict ranks, and where compiled programs are kept."""

import os

import jax

import dualform.testing

dualform.testing.load_profile()

# A [n, 1] array that silently broadcasts against [n] is the commonest way to a wrong shape that "works".
jax.config.update("jax_numpy_rank_promotion", "raise")

# Workers compile the same programs. With a directory to share (JAX reads its name from the environment itself)
# each is compiled once; by default only programs that take a second to compile are worth keeping.
if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
