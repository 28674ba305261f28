"""The chapters of the library, in the order in which they are read: the one list of their numbers."""

from typing import NamedTuple


class Chapter(NamedTuple):
    """A chapter: what the docstring of its module begins with.

    Args:
        number: its place.
        module: where its functions are.
        title: what it is about.
        labels: the letters that labels of its laws begin with.
    """

    number: int
    module: str
    title: str
    labels: tuple[str, ...] = ()


CHAPTERS = (
    Chapter(1, "dualform.linear", "the linear layer updated by outer products", ("L",)),
    Chapter(2, "dualform.descent", "where outer products come from: optimisers", ("O",)),
    Chapter(3, "dualform.prove", "proof and rounding"),
    Chapter(4, "dualform.rules", "the family of update rules", tuple("FANGDBKWTYMZHUJE")),
    Chapter(5, "dualform.attention", "attention as implicit finetuning", ("IC", "SX", "MA")),
    Chapter(6, "dualform.features", "softmax as linear attention in feature space", ("FE",)),
    Chapter(7, "dualform.patch", "a context as a patch of the next weight", ("CP",)),
    Chapter(8, "dualform.peft", "light finetuning", ("PE",)),
    Chapter(9, "dualform.regression", "linear self-attention that learns regression", ("LS", "DE", "RK", "TR", "GP")),
)
