"""Chapters 5 to 7 on real data: what the split, the gaps and the patch are in a network that learned to use context.

The network is trained once, from a fixed seed, on episodes of handwritten digits (`dualform.fewshot`); a law measures
unseen digits. Intervals are over episodes.
"""

from functools import cache

import numpy as np

from dualform.laws.law import MEASURED, Law, Measurement

STEPS, EPISODES = 1000, 100


@cache
def trained():
    """The digits, the trained network and an untrained one."""
    from dualform import fewshot
    from dualform.digits import load

    digits = load(0)
    return digits, fewshot.train(digits, STEPS), fewshot.initial(1)


def unseen(rng: np.random.Generator):
    """Episodes of digits that were not trained on."""
    from dualform.fewshot import draw

    digits = trained()[0]
    return draw(digits.test_x, digits.test_y, rng, EPISODES)


def additive(rng: np.random.Generator) -> Measurement:
    """(SX6) against (SX2), in both layers."""
    from dualform.fewshot import splits

    episodes, weights = unseen(rng), trained()[1].weights
    found = [splits(weights, episodes, layer) for layer in range(len(weights.layers))]
    value, low, high = _mean([x.added for x in found])
    exact = max(float(np.max(x.mixed)) for x in found)
    gates = ", ".join(f"{float(np.median(x.gate)):.2f}" for x in found)
    meaning = (
        f"what zsl + gate demo misses of the attention, relative to it; gates {gates} (median) in the two layers; the "
        f"network is right on {trained()[1].accuracy:.0%} of unseen digits with demonstrations, "
        f"{trained()[1].without:.0%} without"
    )
    return Measurement(value, low, high, exact, meaning, holds=bool(exact < 1e-4 and low > 0.1))


def second_order(rng: np.random.Generator) -> Measurement:
    """(FE12) and (FE11) in the first layer, before and after training."""
    from dualform.fewshot import first_order

    episodes, (_, after, before) = unseen(rng), trained()
    found, control = (first_order(weights, episodes, 0) for weights in (after.weights, before))
    value, low, high = _mean([found.remainder])
    untrained = _mean([control.remainder])
    within = max(float(np.max(x.of_bound)) for x in (found, control))
    meaning = (
        "what no linear attention of first order has of the first layer's attention, relative to it; control: before "
        f"training; at most {within:.2f} of its bound"
    )
    return Measurement(value, low, high, untrained[0], meaning, holds=bool(within <= 1 and low > untrained[2]))


def elsewhere(rng: np.random.Generator) -> Measurement:
    """(CP5) at its own token and (CP11) at the others."""
    from dualform.fewshot import patches

    episodes, weights = unseen(rng), trained()[1].weights
    found = [patches(weights, episodes, layer) for layer in range(len(weights.layers))]
    value, low, high = _mean([x.elsewhere for x in found])
    exact = max(float(np.max(x.exact)) for x in found)
    meaning = (
        "error of the demonstrations' patch at the query's other tokens, relative to what the demonstrations changed "
        "there; control: the largest error at its own token"
    )
    return Measurement(value, low, high, exact, meaning, holds=bool(exact < 1e-3 and low > 0.1))


def _mean(parts) -> tuple[float, float, float]:
    """The mean over episodes of their median tokens, with its 95 % interval."""
    x = np.mean([np.median(np.asarray(part, np.float64), axis=1) for part in parts], axis=0)
    half = 1.96 * np.std(x, ddof=1) / np.sqrt(len(x))
    return float(np.mean(x)), float(np.mean(x) - half), float(np.mean(x) + half)


DOMAIN = "queries, keys, values and streams of a network trained on episodes of digits"

LAWS = (
    Law("SX6.trained", "without its shrinking the split misses most of a trained network's attention",
        r"\mathrm{Attn} - (\mathrm{Attn}_z + \lambda\, \mathrm{Attn}_d) = -\lambda\, \mathrm{Attn}_z", (), (MEASURED,),
        domain=DOMAIN, measure=additive, full_only=(MEASURED,)),
    Law("FE12.trained", "training makes attention less linear: the part of second order grows",
        r"y = \text{linear} + \text{factor} + \text{centring} + \text{mean} + r", (), (MEASURED,),
        domain=DOMAIN, measure=second_order, full_only=(MEASURED,)),
    Law("CP11.trained", "a context's patch is exact at its token and of little use at the others",
        r"(W + \Delta W)\, a_t - W z_t", (), (MEASURED,),
        domain=DOMAIN, measure=elsewhere, full_only=(MEASURED,)),
)  # fmt: skip
