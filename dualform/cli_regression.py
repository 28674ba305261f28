"""The commands of chapter 9: `dualform regression train | risk | compare`. Parses and prints, nothing else."""

import argparse
from pathlib import Path
from typing import Any

from dualform import files, terminal


def add(commands) -> None:
    """Adds `regression` and its commands to the parser of `dualform`."""
    regression = commands.add_parser(
        "regression",
        help="linear self-attention that learns regression in context: train it, compute its risk, compare it",
        description="Linear self-attention that learns regression in context (chapter 9).",
    )
    regression.set_defaults(run=lambda options: _help(regression))
    actions = regression.add_subparsers(dest="action", metavar="ACTION")
    _add_train(actions)
    _add_risk(actions)
    _add_compare(actions)


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 2


def _add_train(actions) -> None:
    train = actions.add_parser(
        "train",
        help="train a network on fresh prompts; an interrupted run goes on from its checkpoint",
        description="Trains layers of linear self-attention (or, with --gpt, a small GPT) on fresh prompts with Adam, "
        "and holds the loss against the exact minimum where there is a formula. The defaults are one layer, d = 5, "
        "N = 20: about 20 seconds.",
        epilog="example: dualform regression train --run oswald_half --checkpoint run.npz --plot loss.png",
    )
    train.add_argument("--run", dest="named", metavar="NAME", help="a training that laws measure, e.g. "
                       "zhang_identity; a wrong name lists them all")  # fmt: skip
    train.add_argument("--gpt", action="store_true", help="a GPT of 3 layers, 64 wide, instead of linear attention")
    train.add_argument("-d", type=positive, help="inputs a token (default 5)")
    train.add_argument("-N", type=positive, help="examples of a prompt (default 20, with --gpt 10)")
    train.add_argument("--inputs", metavar="LAW", type=law,
                       help="gaussian, gaussian:2,1,0.5 (variances), uniform:0.5 (on (-0.5, 0.5)) or random (a new "
                       "diagonal covariance for each prompt); default gaussian")  # fmt: skip
    train.add_argument("--noise", type=float, metavar="S", help="label noise (default 0)")
    train.add_argument("--depth", type=positive, help="layers with weights of their own (default 1)")
    train.add_argument("--repeat", type=positive, help="how often the stack of layers is applied (default 1)")
    train.add_argument("--heads", type=positive, help="of each layer (default 1)")
    train.add_argument("--steps", type=positive, help="of Adam (default 3000)")
    train.add_argument("--batch", type=positive, help="fresh prompts a step (default 1024, with --gpt 64)")
    train.add_argument("--eta", type=float, help="learning rate (default 0.005, with --gpt 0.001)")
    train.add_argument("--seed", type=terminal.natural, help="of weights and prompts (default 0)")
    train.add_argument("--checkpoint", type=Path, metavar="FILE", help="kept here (.npz), and gone on from if there")
    train.add_argument("--json", type=Path, metavar="FILE", help="write settings, losses and the exact minimum as JSON")
    train.add_argument("--plot", type=Path, metavar="FILE", help="draw the loss (.png, .svg or .pdf)")
    train.set_defaults(run=_train)


def _add_risk(actions) -> None:
    risk = actions.add_parser(
        "risk",
        help="the exact risk of a trained layer against the length of the prompt, beside drawn prompts",
        description="The exact risk E (prediction - w.x)^2 of the one-layer network that training on prompts of N "
        "examples ends in, for test prompts of any length, noise, scale and query, and the same by drawing prompts.",
        epilog="example: dualform regression risk --variances 2,1,0.5,0.25 -N 10 -M 5,10,40 --noise 0.7",
    )
    risk.add_argument("--variances", type=numbers, default=[1.0] * 5, metavar="A,B,...",
                      help="of the inputs' coordinates (default 1,1,1,1,1)")  # fmt: skip
    risk.add_argument("-N", type=positive, default=20, help="examples of a training prompt (default 20)")
    risk.add_argument("-M", type=lengths, default=[5, 10, 20, 40, 80, 160], metavar="M,M,...",
                      help="examples of the test prompts (default 5,10,20,40,80,160)")  # fmt: skip
    risk.add_argument("--train-noise", type=float, default=0.0, metavar="S", help="label noise of training (default 0)")
    risk.add_argument("--noise", type=float, default=0.0, metavar="S", help="label noise of the test prompts")
    risk.add_argument("--scale", type=float, default=1.0, metavar="C", help="multiplies the test inputs (default 1)")
    risk.add_argument("--query-variances", type=numbers, metavar="A,B,...", help="of the query, if they differ")
    risk.add_argument("--prompts", type=terminal.natural, default=20_000, metavar="N", help="to draw for each length")
    risk.add_argument("--seed", type=terminal.natural, default=0, metavar="N", help="seed of the draws (default 0)")
    risk.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON")
    risk.add_argument("--plot", type=Path, metavar="FILE", help="draw risk against length (.png, .svg or .pdf)")
    risk.set_defaults(run=_risk)


def _add_compare(actions) -> None:
    compare = actions.add_parser(
        "compare",
        help="a trained network beside the constructions: predictions, sensitivities, shifts, weights in between",
        description="Compares the network of a checkpoint with one step of gradient descent, or with as many steps as "
        "it has layers, without and with the correction of curvature; a GPT with least squares, ridge and averaging.",
        epilog="example: dualform regression train --checkpoint run.npz && dualform regression compare run.npz",
    )
    compare.add_argument("checkpoint", type=Path, metavar="FILE", help="of `dualform regression train`")
    compare.add_argument("--prompts", type=positive, default=20_480, metavar="N", help="prompts drawn (default 20480)")
    compare.add_argument("--seed", type=terminal.natural, default=0, metavar="N", help="of the prompts (default 0)")
    compare.add_argument("--json", type=Path, metavar="FILE", help="write all numbers as JSON")
    compare.add_argument("--plot", type=Path, metavar="FILE", help="draw the shifts, or a GPT's errors by examples")
    compare.set_defaults(run=_compare)


def numbers(text: str) -> list[float]:
    """Numbers with commas between them, for argparse."""
    try:
        return [float(x) for x in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 2,1,0.5, got {text!r}") from None


def positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return int(text)


def lengths(text: str) -> list[int]:
    """Numbers of at least 1 with commas between them, for argparse."""
    return [positive(x) for x in text.split(",")]


def law(text: str) -> tuple[str, list[float]]:
    """A law of inputs with its numbers, such as uniform:0.5, for argparse."""
    name, _, rest = text.partition(":")
    found = numbers(rest) if rest else []
    if name not in ("gaussian", "uniform", "random") or (name != "gaussian" and len(found) > 1):
        raise argparse.ArgumentTypeError(f"expected gaussian, gaussian:2,1,0.5, uniform:0.5 or random, got {text!r}")
    return name, found


def _train(options) -> int:
    from dualform.regression import experiments, reports

    for path in (options.json, options.checkpoint):
        terminal.writable(path)
    terminal.drawable(options.plot)
    chosen = {name: value for name, value in vars(options).items() if name in experiments.CHOICES and value is not None}
    config = experiments.settings(options.named, options.gpt, **chosen)
    with terminal.progress("train") as bar:
        report = experiments.run(config, path=options.checkpoint, progress=bar)
    console = terminal.console()
    console.print(reports.summary(report), highlight=False)
    return _write(options, report, "training_loss")


def _risk(options) -> int:
    from dualform.regression.risk_table import risk_table

    terminal.writable(options.json)
    terminal.drawable(options.plot)
    found = risk_table(
        options.variances, options.N, options.M, train_noise=options.train_noise, noise=options.noise,
        scale=options.scale, query_variances=options.query_variances, drawn=options.prompts, seed=options.seed,
    )  # fmt: skip
    table = terminal.table(("M", "right"), ("exact risk", "right"), ("drawn prompts", "right"), ("+- 2 s.e.", "right"))
    for row in found["rows"]:
        drawn = (f"{row['mean']:.5g}", f"{2 * row['error']:.2g}") if "mean" in row else ("", "")
        table.add_row(str(row["M"]), f"{row['exact']:.6g}", *drawn)
    table.add_row("inf", f"{found['floor']:.6g}", "", "")
    console = terminal.console()
    console.print(table)
    console.print(f"trained on N = {found['N']}; predicting zero has risk {found['zero']:.6g}", highlight=False)
    return _write(options, found, "risk_against_length")


def _compare(options) -> int:
    from dualform.regression import experiments, reports

    terminal.writable(options.json)
    terminal.drawable(options.plot)
    report = experiments.compared(options.checkpoint, prompts=options.prompts, seed=options.seed)
    terminal.print_tables(reports.tables(report))
    return _write(options, report, "errors_by_examples" if report["kind"] == "gpt" else "shifts")


def _write(options, report: dict[str, Any], figure: str) -> int:
    if options.json is not None:
        files.write_json(options.json, report)
    if options.plot is not None:
        from dualform.regression import plots

        plots.save(getattr(plots, figure)(report), options.plot)
    return 0
