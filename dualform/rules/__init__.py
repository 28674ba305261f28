r"""Chapter 4. The family of update rules: thirteen linear layers that are trained while they read.

Each is a module with the same forms, and a `Rule` in `RULES` that says which inner loss it descends, with which
optimiser, and where it is stable:

>>> from dualform.rules import RULES
>>> import jax.numpy as jnp
>>> q = k = v = jnp.eye(2)
>>> o, state = RULES["delta"](q, k, v, beta=jnp.ones(2))
>>> print(state)
[[1. 0.]
 [0. 1.]]

See `dualform.rules.base` for what they share.
"""

from dualform.rules import (
    delta,
    gated_delta,
    gla,
    kda,
    linear_attn,
    longhorn,
    mesa,
    momentum,
    normalized,
    retention,
    rwkv7,
    titans,
    ttt,
)
from dualform.rules.base import Dual as Dual
from dualform.rules.base import Gate as Gate
from dualform.rules.base import Rule as Rule
from dualform.rules.heads import over_heads as over_heads
from dualform.rules.packing import final_states as final_states

BETA = Gate("beta", "T", "[0, 1], or [0, 2] for reflections")
DECAY = Gate("g", "T", "[-inf, 0]", log=True)
CHANNEL_DECAY = Gate("g", "T K", "[-inf, 0]", log=True)
HEBBIAN, SQUARED = r"-v \cdot S k", r"\tfrac12 |S k - v|^2"

_ALL = (
    Rule(
        "linear_attn", linear_attn, HEBBIAN, "SGD, step 1", r"S_t = S_{t-1} + v k^\top",
        paper="Katharopoulos et al. 2020, Transformers are RNNs (arXiv 2006.16236)",
        aliases=("fla linear_attn", "fast-transformers causal_dot_product"), chunk=64,
    ),
    Rule(
        "normalized", normalized, HEBBIAN + " on [v, 1] with keys phi(k)", "SGD, step 1",
        r"S_t = S_{t-1} + v \phi(k)^\top,\ z_t = z_{t-1} + \phi(k),\ o = S\phi(q) / (z \cdot \phi(q))", state="S, z",
        paper="Katharopoulos et al. 2020, Transformers are RNNs (arXiv 2006.16236)",
        aliases=("fla linear_attn(normalize=True)", "fast-transformers CausalLinearAttention"), chunk=64,
    ),
    Rule(
        "retention", retention, HEBBIAN, "SGD with weight decay", r"S_t = e^{g} S_{t-1} + v k^\top", (DECAY,),
        paper="Sun et al. 2023, Retentive Network (arXiv 2307.08621); Dao, Gu 2024, Mamba-2 (arXiv 2405.21060)",
        aliases=("fla retention, simple_gla", "jax-linear-attention simple_gla", "mamba2 ssd"),
    ),
    Rule(
        "gla", gla, HEBBIAN, "SGD with weight decay per key channel", r"S_t = S_{t-1} \mathrm{diag}(e^{g}) + v k^\top",
        (CHANNEL_DECAY,), paper="Yang et al. 2023, Gated Linear Attention (arXiv 2312.06635)",
        aliases=("fla gla", "rwkv6 (nearly: it reads before it writes, and adds a bonus u)"), chunk=8,
    ),
    Rule(
        "delta", delta, SQUARED, "SGD, one step a token", r"S_t = S_{t-1} + \beta (v - S_{t-1} k) k^\top", (BETA,),
        stability="0 <= beta |k|^2 <= 2",
        paper="Schlag, Irie, Schmidhuber 2021 (arXiv 2102.11174); Yang et al. 2024 (arXiv 2406.06484)",
        aliases=("fla delta_rule", "jax-linear-attention delta_rule", "rwkv-ops delta_net"), chunk=64,
    ),
    Rule(
        "gated_delta", gated_delta, SQUARED, "SGD after weight decay",
        r"A = e^{g} S_{t-1},\ S_t = A + \beta (v - A k) k^\top", (BETA, DECAY), stability="0 <= beta |k|^2 <= 2",
        paper="Yang, Kautz, Hatamizadeh 2024, Gated Delta Networks (arXiv 2412.06464)",
        aliases=("fla gated_delta_rule", "opengdn gated_delta (alpha = exp g)"),
    ),
    Rule(
        "kda", kda, SQUARED, "SGD after weight decay per key channel",
        r"A = S_{t-1} \mathrm{diag}(e^{g}),\ S_t = A + \beta (v - A k) k^\top", (BETA, CHANNEL_DECAY),
        stability="0 <= beta |k|^2 <= 2", paper="Kimi Team 2025, Kimi Linear (arXiv 2510.26692)", aliases=("fla kda",),
        chunk=8,
    ),
    Rule(
        "rwkv7", rwkv7, SQUARED + " and a semi-gradient", "generalised delta",
        r"S_t = S_{t-1} (\mathrm{diag}(e^{g}) + a b^\top) + v k^\top",
        (CHANNEL_DECAY, Gate("a", "T K", "any"), Gate("b", "T K", "any")),
        stability="|diag(e^g) + a b'| <= 1", paper="Peng et al. 2025, RWKV-7 (arXiv 2503.14456)",
        aliases=("fla rwkv7, generalized_delta_rule.dplr",), chunk=8,
    ),
    Rule(
        "ttt", ttt, SQUARED, "minibatch gradient descent",
        r"S_t = S_{t-1} + \beta (v - S_{start} k) k^\top", (BETA,),
        stability="beta |k|^2 times the minibatch <= 2",
        paper="Sun et al. 2024, Learning to (learn at test time) (arXiv 2407.04620)",
        aliases=("fla ttt_linear (target v - k)",),
    ),
    Rule(
        "momentum", momentum, HEBBIAN + " or " + SQUARED, "SGD with heavy ball",
        r"Z_t = \mu Z_{t-1} + e_t k^\top,\ S_t = S_{t-1} + Z_t", (Gate("mu", "T", "[0, 1)"), BETA), state="S, Z",
        stability="0 <= mu < 1, and beta |k|^2 < 2 (1 + mu) for the delta error",
        paper="Polyak 1964, heavy ball", aliases=("fla momentum_delta_rule",),
    ),
    Rule(
        "titans", titans, SQUARED, "minibatch heavy ball with weight decay",
        r"Z_t = \mu Z_{t-1} + \beta (v - S_{start} k) k^\top,\ S_t = e^{g} S_{t-1} + Z_t",
        (BETA, Gate("mu", "T", "[0, 1)"), DECAY), state="S, Z", stability="ttt and momentum are",
        paper="Behrouz, Zhong, Mirrokni 2025, Titans (arXiv 2501.00663), linear memory", aliases=("fla titans_linear",),
    ),
    Rule(
        "longhorn", longhorn, r"\tfrac12 |S' - S|^2 + \tfrac{\beta}{2} |S' k - v|^2", "implicit (proximal) step",
        r"S_t = S_{t-1} + \tfrac{\beta}{1 + \beta |k|^2} (v - S_{t-1} k) k^\top", (BETA,),
        paper="Liu et al. 2024, Longhorn (arXiv 2407.14207)",
    ),
    Rule(
        "mesa", mesa, r"\tfrac12 \sum_i w_i |S k_i - v_i|^2 + \tfrac12 |S \Lambda^{1/2}|^2",
        "solved exactly at every token",
        r"G_t = e^{g} G_{t-1} + \beta v k^\top,\ H_t = e^{g} H_{t-1} + \beta k k^\top,\ o = G (H + \Lambda)^{-1} q",
        (BETA, DECAY, Gate("lam", "", "above 0")), state="G, H",
        paper="von Oswald et al. 2025, MesaNet (arXiv 2506.05233)", aliases=("fla mesa_net",),
    ),
)  # fmt: skip

RULES: dict[str, Rule] = {rule.name: rule for rule in _ALL}
"""All rules by name, from the simplest to the most elaborate."""
