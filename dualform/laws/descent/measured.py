"""(O9) on a real network: layers that were trained on handwritten digits, and what their patterns rebuild of them."""

import numpy as np

from dualform.laws.law import Comparison


def trained_layers(seed: int, quick: bool) -> list[Comparison]:
    """Each layer of a trained network against attention over its recorded patterns, on digits that it has not seen."""
    from dualform import digits

    training = digits.train(digits.load(seed), epochs=1 if quick else 6, seed=seed, queries=2 if quick else 6)
    return [_compared(i, layer, training) for i, layer in enumerate(training.layers, 1)]


def _compared(i: int, layer, training) -> Comparison:
    from dualform import digits

    c = digits.compare(layer, training.optimizer)
    T, B = layer.gradients.shape[:2]
    size = float(np.max(np.abs(c.trained)))
    more = {"steps": T, "patterns": T * B, "queries": len(c.trained), "accuracy": training.accuracy, "output": size}
    return Comparison(
        f"digits, layer {i}", "trained layer against its patterns", "float32", c.ratio, float(np.max(c.error)),
        float(np.max(c.bound)), float(np.max(c.bound)) / size, more,
    )  # fmt: skip
