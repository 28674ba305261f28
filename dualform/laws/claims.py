"""What the papers and their summaries claim, each with its verdict and the laws that decide it, as data.

A verdict is a list of stamps, for a claim may hold in one reading and fail in another: `proved, refuted` says that the
laws marked *proved* show in which sense it holds, and those marked *refuted* in which it does not. Two verdicts need no
law: `read` for what is settled by reading the source, and `open` for what waits for a later chapter.

>>> from dualform.laws.claims import CLAIMS, command
>>> claim = next(claim for claim in CLAIMS if claim.label == "C19")
>>> print(", ".join(claim.verdict), "->", command(claim.evidence[0]))
proved, refuted -> dualform verify --only MA7
"""

from dataclasses import dataclass
from typing import NamedTuple

from dualform.laws import check, find
from dualform.laws.checks import Result
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Law
from dualform.prove.certificate import at_most

READ, OPEN = "read", "open"
VERDICTS = (PROVED, BOUNDED, MEASURED, REFUTED, READ, OPEN)

DAI, IRIE = "Dai et al. 2022", "Irie et al. 2022"
ZHANG = "Zhang et al. 2024 on trained linear Transformers"


class Evidence(NamedTuple):
    """A stamp of a law: its key, or a label for all laws of the label that carry the stamp."""

    law: str
    stamp: str


@dataclass(frozen=True)
class Claim:
    """A statement from the literature, in our words.

    Args:
        label: "C1" to "C45".
        source: who says so.
        claim: what is said.
        verdict: some of `VERDICTS`.
        because: what the verdict rests on, and under which conditions; for an open claim what will decide it.
        evidence: laws that earn the stamps of the verdict; an open claim may have some that bear on it.
    """

    label: str
    source: str
    claim: str
    verdict: tuple[str, ...]
    because: str
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self):
        unknown = [v for v in self.verdict if v not in VERDICTS]
        if unknown or not self.verdict:
            raise ValueError(f"verdict: got {self.verdict!r}, expected some of {VERDICTS}")


def laws_of(evidence: Evidence) -> list[Law]:
    """The laws that a piece of evidence names.

    >>> print([law.label for law in laws_of(Evidence("IC2", "proved"))])
    ['IC2']
    """
    return [law for law in find(evidence.law) if evidence.stamp in law.stamps]


def command(evidence: Evidence) -> str:
    """What to type to see the laws earn their stamps.

    >>> print(command(Evidence("IC2", "proved")))
    dualform verify --only IC2
    """
    thorough = " --thorough" if any(law.thorough for law in laws_of(evidence)) else ""
    return f"dualform verify{thorough} --only {evidence.law}"


def number(evidence: Evidence, seed: int = 0, recorded: tuple[dict, ...] = ()) -> str:
    """What checking the evidence gives now, in short: a probability, a ratio, an interval, or a counterexample.

    Laws that train networks for minutes are not checked but looked up in `recorded`, the results that
    `dualform verify --thorough --json FILE` wrote.

    >>> print(number(Evidence("IC2", "proved")))
    P(false) ...
    """
    return "; ".join(
        _recorded(law, recorded) if law.thorough else _short(check(law, evidence.stamp, seed=seed, quick=True))
        for law in laws_of(evidence)
    )


def _recorded(law: Law, results: tuple[dict, ...]) -> str:
    known = [name for name, field in Result.__dataclass_fields__.items() if field.init]
    for result in results:
        if result["key"] == law.key:
            return _short(Result(**{name: result[name] for name in known if name in result}))
    return "trained on demand"


def _short(result: Result) -> str:
    if not result.passed:
        return f"failed: {result.reason}"
    if result.stamp == PROVED:
        return f"P(false) {at_most(result.failure_probability or 1.0, 0)}"
    if result.stamp == BOUNDED:
        return f"error/bound {result.worst:.2f}"
    detail = result.details[0]
    if result.stamp == MEASURED:
        low, high = detail["interval"]
        return f"{detail['value']:.3g} in [{low:.3g}, {high:.3g}], control {detail['control']:.3g}"
    example = detail["counterexample"]
    return f"{example['f']:.3g} in place of {example['g']:.3g}"


def proved(law: str) -> Evidence:
    """Evidence by proof."""
    return Evidence(law, PROVED)


def refuted(law: str) -> Evidence:
    """Evidence by counterexample."""
    return Evidence(law, REFUTED)


def measured(law: str) -> Evidence:
    """Evidence by measurement."""
    return Evidence(law, MEASURED)


def waits(label: str, source: str, claim: str, because: str, *evidence: Evidence) -> Claim:
    """A claim that is open."""
    return Claim(label, source, claim, (OPEN,), because, evidence)


LANGUAGE_MODELS = "waits for the runs on language models"

CLAIMS: tuple[Claim, ...] = (
    Claim("C1", "Aizerman et al. 1964; Dai et al. 2022",
          "a linear layer that was trained by gradient descent returns its initial output plus linear attention over "
          "what it was trained on", (PROVED,),
          "an identity, with the inputs as they were during training and an optimiser that is linear in the gradients",
          (proved("L3"), proved("O1"))),
    Claim("C2", "a summary of Dai et al. 2022", "the values of that attention are the gradients", (REFUTED,),
          "they carry minus the learning rate, and momentum and decay change them further", (refuted("L6"),)),
    Claim("C3", "a summary of Dai et al. 2022", "each of its terms is the outer product of an error signal and a score",
          (REFUTED,), "a score is a number, and a vector times a number is a vector; the outer product is that of the "
          "error signal and the input, before it meets the query", (refuted("IC1"),)),
    Claim("C4", DAI, "attention without its softmax is linear attention", (PROVED, BOUNDED, REFUTED),
          "true of the formula that is left; as an approximation of softmax attention it fails at first order: a mean "
          "value, a centring and a factor 1/n are missing, and what remains after these is bounded",
          (proved("FE12"), Evidence("FE11", BOUNDED), refuted("FE12"))),
    Claim("C5", DAI, "a head that reads demonstrations is about a weight plus an update, times the query",
          (PROVED, REFUTED), "exact without softmax; with it, demonstrations enter through a gate that depends on the "
          "query, and no matrix does what they do", (proved("IC2"), proved("SX2"), refuted("SX6.sum"),
                                             refuted("SX6.fixed"))),
    Claim("C6", DAI, "the zero-shot weight times the query is the head's output without demonstrations",
          (PROVED, REFUTED), "exact without softmax; with it, the query's own tokens keep the share 1 - lambda only",
          (proved("IC2"), refuted("SX6.own"))),
    Claim("C7", DAI, "the values of the demonstrations play the part of gradients", (PROVED, REFUTED),
          "they are the negative gradients of the Hebbian loss at learning rate 1, and not those of the squared loss",
          (proved("IC3"), refuted("IC3"))),
    Claim("C8", DAI, "a head with finetuned keys and values is the same weight plus another update",
          (PROVED, BOUNDED), "an identity with three terms, for a run of SGD on any loss; the update depends on the "
          "query's own context. In floating point on rows of real digits",
          (proved("IC4"), proved("IC6"), proved("IC7"), Evidence("IC7.digits", BOUNDED))),
    Claim("C9", DAI, "in-context learning and finetuning are both gradient descent, on the same information, in the "
          "same order, on keys and values", (PROVED, REFUTED),
          "gradient descent holds, on a Hebbian loss; information and order are alike because the comparison makes "
          "them so; but the updates are different objects: one vanishes with the query's own context, the other does "
          "not see it",
          (proved("IC3"), proved("IC8"), refuted("IC8"))),
    Claim("C10", "introductions to GPT-3", "only very large models learn in context", (MEASURED,),
          "they need not be large: a network of 153,345 weights that reads pairs of inputs and labels predicts better "
          "with every pair. Language models of 135 and 270 million parameters wait for their runs",
          (measured("GP4.reads"), measured("GP4.trained"))),
    waits("C11", DAI, "demonstrations and finetuning raise the accuracy on all of six tasks", LANGUAGE_MODELS),
    waits("C12", DAI, "in-context learning gets right most of what finetuning gets right", LANGUAGE_MODELS),
    waits("C13", DAI, "in-context learning moves attention outputs in the direction of finetuning, random updates do "
          "not",
          f"{LANGUAGE_MODELS}; what unrelated updates score in the published measure is known", proved("IC11"),
          Evidence("IC11", MEASURED)),
    waits("C14", DAI, "attention maps are more like those of in-context learning after finetuning than before",
          LANGUAGE_MODELS),
    waits("C15", DAI, "both rank the training tokens alike", LANGUAGE_MODELS),
    Claim("C16", "a summary of Dai et al. 2022", "the smaller that similarity of updates, the closer the two methods",
          (REFUTED,), "it is a cosine: 1 for equal updates", (refuted("IC10"),)),
    waits("C17", DAI, "momentum attention lowers the perplexity at every length", LANGUAGE_MODELS),
    waits("C18", DAI, "momentum attention raises the accuracy in context on every task", LANGUAGE_MODELS),
    Claim("C19", DAI, "momentum attention is momentum", (PROVED, REFUTED),
          "what it adds is the velocity of a bias, which no query changes; heavy ball's surplus is linear in the "
          "query and favours the old. They differ for every pair of numbers",
          (proved("MA7"), proved("MA8"), proved("MA9"), refuted("MA8"))),
    Claim("C20", "a summary of Dai et al. 2022", "the models compared have 0.13 and 0.27 billion parameters", (READ,),
          "the paper says 1.3 and 2.7 billion: a slip of units"),
    Claim("C21", "a summary of von Oswald et al. 2022", "a Transformer's forward pass in context is a step of "
          "gradient descent", (PROVED, MEASURED, REFUTED),
          "a constructed linear layer is a step from any weight, K layers are K steps, with preconditioners, moving "
          "inputs or features, and trained layers come out like it. It fails when the query reads itself from the "
          "second layer on, when the start stands in the first layer alone, and when a divisor is kept for another "
          "length. With a softmax only the copying of labels is shown",
          (proved("LS6"), proved("LS7"), proved("LS8"), proved("LS9"), proved("LS10"), proved("DE15"),
           measured("TR12"), measured("TR13"), measured("TR14"),
           refuted("LS7"), refuted("LS13.difference"), refuted("LS14"))),
    waits("C22", "a summary of Dai et al. 2022", "demonstrations reach what finetuning reaches, without an update",
          LANGUAGE_MODELS),
    Claim("C23", ZHANG, "gradient flow finds a global optimum that has a formula", (PROVED, MEASURED),
          "the formula is the global minimum, for any covariances, prior and noise; the flow and Adam arrive there "
          "from the published starts",
          (proved("RK6.vanishes"), proved("RK6.minimum"), measured("RK6"), measured("RK18"),
           measured("TR11.equal"), measured("TR11.unequal"))),
    Claim("C24", ZHANG, "its predictions tend to the truth as prompts grow", (PROVED, REFUTED),
          "if training prompts and test prompts both grow; with training prompts of one length a floor stays, however "
          "long the test prompt",
          (proved("RK10.long"), refuted("RK22"))),
    Claim("C25", ZHANG, "the algorithm that it learns resembles least squares", (PROVED, MEASURED, REFUTED),
          "it is one step of gradient descent with a fixed preconditioner, and meets least squares only where prompts "
          "are infinitely long: with 20 examples of 5 inputs its least risk is 1.154, that of least squares 0",
          (proved("RK4"), measured("RK4"), refuted("RK4"), refuted("GP8"))),
    Claim("C26", ZHANG, "where the truth is nonlinear it predicts as the best linear predictor", (PROVED, MEASURED),
          "in the limit of long prompts, for any law of inputs and labels; before it, with a bias and a variance that "
          "are known",
          (proved("RK13"), measured("RK13"))),
    Claim("C27", ZHANG, "it bears some shifts of the distribution and not others", (PROVED, MEASURED, REFUTED),
          "tasks and independent queries may come from another law; inputs times c give predictions about c squared "
          "too large, and that it bears these is refuted",
          (proved("RK10.long"), proved("RK26"), measured("RK10.queries"),
           measured("RK10.scaled"), measured("RK26"), refuted("RK26"))),
    Claim("C28", ZHANG, "the lengths of training and test prompts count at different rates", (PROVED, MEASURED),
          "the risk is a floor, which falls like the square of 1/N, and a multiple of 1/M",
          (proved("RK12"), proved("RK22"), measured("RK22"))),
    Claim("C29", ZHANG, "with a random covariance for each prompt one linear layer fails", (PROVED, MEASURED, REFUTED),
          "it has a best matrix, and with variances from Exp(1) a third of what predicting zero errs stays at any "
          "length; what is refuted is that it would learn the task. A small GPT errs on prompts longer than those of "
          "training for another reason: positions that were not trained",
          (proved("RK9"), measured("RK9"), measured("TR11.random"), measured("GP2"), refuted("RK9"))),
    Claim("C30", ZHANG, "a query orthogonal to the prompt's inputs is predicted to be zero",
          (PROVED, MEASURED, REFUTED), "true of all such queries if and only if the matrix of the prediction is a "
          "multiple of the identity", (proved("RK27"), measured("RK27"), refuted("RK27"))),
    Claim("C31", "Garg et al. 2022; Akyurek et al. 2023", "a GPT that is trained in context approximates least squares",
          (MEASURED,), "a small one shrinks: where least squares is exact it is nearer to gradient descent stopped "
          "early than to any ridge, and the parameter of the nearest ridge falls as it is trained; networks of the "
          "published size were not trained here", (measured("GP13"),)),
    waits("C32", "an introduction to language models", "a GPT's inputs, output and objective are the stated formulas",
          LANGUAGE_MODELS),
    waits("C33", "an introduction to language models", "a GPT is trained to restore masked tokens", LANGUAGE_MODELS),
    Claim("C34", "an introduction to light finetuning", "an adapter adds a narrow network beside the identity, and "
          "only that is trained", (PROVED, REFUTED),
          "the formula is attention over learned slots, and its training is a dual form in two stages; it is no "
          "update of a weight. Accuracy against parameters waits for the runs on language models",
          (proved("PE7"), proved("PE8"), proved("PE10"), refuted("PE8"))),
    Claim("C35", "an introduction to light finetuning", "LoRA trains an update of low rank, prefix tuning trains a "
          "prefix",
          (PROVED, REFUTED), "with dual forms for both; a prefix is an update without softmax, and a gated mixture "
          "with it",
          (proved("PE1"), proved("PE5"), proved("PE6"), proved("PE11"), proved("PE12"), refuted("PE12"))),
    waits("C36", "an introduction to light finetuning", "light finetuning comes close to full finetuning with a "
          "fraction of the parameters", LANGUAGE_MODELS),
    waits("C37", "an introduction to light finetuning", "distillation moves knowledge into a smaller model",
          LANGUAGE_MODELS),
    Claim("C38", "an introduction to light finetuning", "in-context learning is a way of pretraining BERT, GPT and "
          "BART",
          (READ,), "another use of the word: in the sense of all other sources no weight changes"),
    Claim("C39", IRIE, "the layers of a network can be read as attention over its training patterns",
          (PROVED, BOUNDED, REFUTED), "with the bias's 1 and with the optimiser's coefficients; `dualform verify "
          "--only O9.digits` does it for a trained network. The published analysis leaves both out",
          (proved("O9"), Evidence("O9", BOUNDED), refuted("O9"), refuted("L7"))),
    Claim("C40", "Dherin et al. 2025", "a context acts as an update of rank 1 on the next weight",
          (PROVED, MEASURED, REFUTED), "exact for the token for which it was made, and for no other",
          (proved("CP1"), Evidence("CP11", MEASURED), refuted("CP11"))),
    Claim("C41", "Ren, Liu 2024", "softmax attention is a trained linear model in a feature space without end",
          (PROVED, BOUNDED), "by monomials, cut off at a degree, with a bound on what is cut",
          (proved("FE1"), proved("FE2"), Evidence("FE4", BOUNDED))),
    waits("C42", "Deutch et al. 2023", "untrained models score as high on the published measures", LANGUAGE_MODELS),
    waits("C43", "Shen et al. 2023", "in-context learning depends on the order of its demonstrations more than "
          "gradient descent does", LANGUAGE_MODELS),
    Claim("C44", "von Oswald et al. 2022", "the inputs of their regression tasks lie between -1 and 1",
          (MEASURED, REFUTED), "the published losses and rates are those of inputs between -1/2 and 1/2, which the "
          "published code draws",
          (measured("TR10"), measured("TR12"), refuted("TR10"))),
    Claim("C45", "various", "n steps of an optimiser change a weight in at most n dimensions", (PROVED, REFUTED),
          "n patterns of SGD do, apart from the decay of the initial weight; weight decay and Adam do not",
          (proved("O11"), refuted("O11"))),
)  # fmt: skip
"""All claims, in the order of their labels."""
