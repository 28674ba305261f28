"""The command line: parses and prints, nothing else."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dualform import cli_regression, files, terminal
from dualform.terminal import natural

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0 when every law earns the stamp that it claims, 1 when one does not, 2 for bad usage."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return USAGE
    try:
        return options.run(options)
    except ValueError as error:
        print(f"dualform {options.command}: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # the reader, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print(f"dualform {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    from importlib.metadata import version

    parser = argparse.ArgumentParser(
        prog="dualform",
        description="A linear layer updated by outer products is linear attention over its training data: check it.",
    )
    parser.add_argument("--version", action="version", version=f"dualform {version('dualform')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    verify = commands.add_parser(
        "verify",
        help="check every law at every stamp that it claims, then a trained network",
        description="Proves, bounds, measures or refutes every law, then rebuilds a trained digit classifier from its "
        "recorded training. Exit status: 0 all stamps earned, 1 not all, 2 bad usage.",
    )
    verify.add_argument("--quick", action="store_true", help="fewer cases, float32 only, under 30 seconds")
    verify.add_argument("--thorough", action="store_true", help="also the laws that train networks: about half an hour")
    verify.add_argument("--runs", type=Path, metavar="FOLDER", help="keep the networks of --thorough here, and resume")
    verify.add_argument(
        "--only", metavar="LABEL", help="one equation label (L3), a chapter's letter (O), or one law's key (O9.digits)"
    )
    verify.add_argument("--rule", metavar="NAME", help="the laws of one update rule (gated_delta)")
    verify.add_argument(
        "--seed", type=natural, metavar="N",
        help="seed of all random draws (default: 0 for data, the system's entropy for proofs)",
    )  # fmt: skip
    verify.add_argument("--proof-seed", type=natural, metavar="N", help="seed of the proofs alone, to repeat a run")
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    verify.add_argument("--plot", type=Path, metavar="FILE", help="draw error against bound (.png, .svg or .pdf)")
    verify.set_defaults(run=_verify)

    laws = commands.add_parser("list", help="list the laws and their stamps", description="Lists the laws.")
    laws.add_argument("--only", metavar="LABEL", help="one equation label, or a chapter's letter")
    laws.add_argument("--json", type=Path, metavar="FILE", help="write the list as JSON")
    laws.set_defaults(run=_list)

    prove = commands.add_parser(
        "prove",
        help="decide whether two functions of yours are the same",
        description="Proves or refutes that two JAX functions agree, by exact arithmetic on their programs.",
        epilog="example: dualform prove mine:fast mine:slow --input 4,3 --input 3 --input 4:log",
    )
    prove.add_argument("f", metavar="MODULE:F", help="a function of arrays")
    prove.add_argument("g", metavar="MODULE:G", help="another, with the same arguments")
    prove.add_argument(
        "--input", action="append", default=[], metavar="SHAPE[:log]", required=True,
        help="shape of the next argument, e.g. 4,3; 'scalar' for a number; ':log' for a log-domain input",
    )  # fmt: skip
    prove.add_argument("--trials", type=natural, default=3, metavar="N", help="independent draws (default 3)")
    prove.add_argument("--seed", type=natural, metavar="N", help="repeats a proof (default: the system's entropy)")
    prove.add_argument("--json", type=Path, metavar="FILE", help="write the certificate as JSON")
    prove.set_defaults(run=_prove)

    bench = commands.add_parser(
        "bench",
        help="time the rules beside other libraries and this machine's matrix product",
        description="Times forward and backward passes in turns, in one process for each rule and number of threads. "
        "Other libraries are timed where they are installed; see the documentation for how.",
    )
    bench.add_argument("--rule", action="append", metavar="NAME", help="a rule (may be repeated; default: all four)")
    bench.add_argument("--tokens", type=natural, default=4096, metavar="N", help="tokens a sequence (default 4096)")
    bench.add_argument("--batch", type=natural, default=1, metavar="N", help="sequences (default 1)")
    bench.add_argument("--heads", type=natural, default=8, metavar="N", help="heads (default 8)")
    bench.add_argument("--width", type=natural, default=64, metavar="N", help="of keys and values (default 64)")
    bench.add_argument("--threads", choices=("one", "all", "both"), default="both", help="default: both, one pinned")
    bench.add_argument("--seconds", type=float, default=10.0, metavar="S", help="rounds of a rule and direction")
    bench.add_argument("--training", action="store_true", help="time the training of linear self-attention instead")
    bench.add_argument("--no-peers", action="store_true", help="without other libraries")
    bench.add_argument("--quick", action="store_true", help="without long sequences and memory, 2 seconds each")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all times as JSON")
    bench.add_argument("--plot", type=Path, metavar="FILE", help="draw the times (.png, .svg or .pdf)")
    bench.set_defaults(run=_bench)
    cli_regression.add(commands)
    return parser


def _verify(options) -> int:
    from dualform.verify import Report, plan, script, verify

    chosen = dict(
        quick=options.quick, thorough=options.thorough, only=options.only, rule=options.rule, seed=options.seed,
        proof_seed=options.proof_seed,
    )  # fmt: skip
    if options.runs is not None and not options.thorough:
        raise ValueError("--runs: is for --thorough; add it")
    jobs = plan(**chosen)  # an unknown label is bad usage, before any work
    terminal.writable(options.json)
    terminal.drawable(options.plot)
    report = Report(0, options.quick)
    try:
        with terminal.progress() as bar:
            verify(**chosen, runs=options.runs, progress=bar, report=report)
    except KeyboardInterrupt:
        stopped = f"interrupted after {len(report.results)} of {len(jobs)} stamps; what was checked follows"
        print(f"dualform verify: {stopped}", file=sys.stderr)
    _print_report(report)
    if options.json is not None:
        files.write_json(options.json, report.to_dict())
    if options.plot is not None:
        from dualform import plots

        plots.error_against_bound(report.to_dict(), options.plot)
    for result in report.results:
        if not result.passed:
            print(f"\n{result.key} {result.title}\n  {result.reason}\nTo reproduce:\n\n{script(result, report)}")
    return INTERRUPTED if not report.complete else OK if report.passed else FAILED


def _print_report(report) -> None:
    from dualform import _jax
    from dualform.prove.certificate import at_most

    table = terminal.table(
        ("law", "left"),
        ("", "left"),
        ("stamp", "left"),
        ("error/bound", "right"),
        ("P(false proof)", "right"),
        ("s", "right"),
    )
    styles = {"failed": "bold red", "error": "bold red", "vacuous": "yellow"}
    for r in report.results:
        worst = "" if r.worst is None else f"{r.worst:.2g}"
        chance = "" if r.failure_probability is None else at_most(r.failure_probability, 0)
        style = styles.get(r.earned, "green")
        table.add_row(r.key, r.title, f"[{style}]{r.earned}[/]", worst, chance, f"{r.seconds:.1f}")
    console = terminal.console()
    console.print(table)
    for r in report.results:
        for d in r.details:
            if "meaning" in d:
                console.print(f"{r.key} measured {d['value']:.4g}: {d['meaning']}", highlight=False)
            if "accuracy" in d:
                console.print(
                    f"{r.key} {d['case']}: attention over {d['patterns']} patterns, on {d['queries']} unseen digits "
                    f"(accuracy of the network {d['accuracy']:.1%}) largest difference {d['error']:.2g}, "
                    f"allowed {d['bound']:.2g}, output up to {d['output']:.3g}",
                    highlight=False,
                )
    proved = [r for r in report.results if r.stamp == "proved" and r.passed]
    for condition in sorted({condition for r in proved for condition in r.conditions}):
        labels = dict.fromkeys(r.label for r in proved if condition in r.conditions)
        console.print(f"proved {condition}: {', '.join(labels)}", highlight=False)
    if _jax.newer():
        tried = (
            f"JAX {_jax.VERSION} is newer than {_jax.NEWEST}, the newest that this version of dualform was tried with"
        )
        console.print(tried, highlight=False)
    failed = sum(not r.passed for r in report.results)
    verdict = "every law earned its stamp" if report.passed else f"{failed} of {len(report.results)} stamps not earned"
    verdict += "" if report.complete else " so far"
    console.print(
        f"{verdict} ({len(report.results)} stamps, {report.seconds:.0f} s, seed {report.seed}, "
        f"proofs' seed {report.proof_seed})",
        highlight=False,
    )


def _list(options) -> int:
    from dualform.laws import LAWS, find

    laws = LAWS if options.only is None else find(options.only)
    if options.json is not None:
        fields = ("key", "label", "title", "statement", "stamps", "domain", "source")
        files.write_json(options.json, [{k: getattr(law, k) for k in fields} for law in laws])
        return OK
    table = terminal.table(("law", "left"), ("", "left"), ("stamps", "left"), ("domain", "left"))
    for law in laws:
        table.add_row(law.key, law.title, ", ".join(law.stamps), law.domain)
    terminal.console().print(table)
    return OK


def _prove(options) -> int:
    from dualform.prove import identical

    f, g = (_function(name) for name in (options.f, options.g))
    terminal.writable(options.json)
    inputs = [_input(text) for text in options.input]
    try:
        certificate = identical(f, g, *inputs, trials=options.trials, seed=options.seed)
    except ValueError:
        raise  # it says what is wrong
    except Exception:
        for name, function in ((options.f, f), (options.g, g)):
            _runs(name, function, inputs)
        raise
    print(certificate)
    if options.json is not None:
        files.write_json(options.json, certificate.to_dict())
    return OK if certificate.equal else FAILED


def _bench_training(options) -> int:
    from dualform.bench.training import bench_training, tables

    counts = {"one": (1,), "all": (os.cpu_count() or 1,), "both": (1, os.cpu_count() or 1)}[options.threads]
    with terminal.progress("bench") as bar:
        report = bench_training(
            threads=tuple(dict.fromkeys(counts)), seconds=2.0 if options.quick else options.seconds,
            with_peers=not options.no_peers, progress=bar,
        )  # fmt: skip
    terminal.print_tables(tables(report))
    if options.json is not None:
        files.write_json(options.json, report)
    return OK


def _bench(options) -> int:
    from dualform.bench import bench
    from dualform.bench.problems import RULES
    from dualform.bench.report import tables
    from dualform.bench.run import LENGTHS

    terminal.writable(options.json)
    terminal.drawable(options.plot)
    if options.training:
        if options.plot is not None or options.rule:
            raise ValueError("--training: got it beside --plot or --rule, which are of the rules; leave them out")
        return _bench_training(options)
    with terminal.progress("bench") as bar:
        report = bench(
            rules=options.rule or RULES, T=options.tokens, B=options.batch, H=options.heads, K=options.width,
            V=options.width, threads=options.threads, with_peers=not options.no_peers,
            lengths=() if options.quick else LENGTHS, memory=not options.quick,
            seconds=2.0 if options.quick else options.seconds, progress=bar,
        ).to_dict()  # fmt: skip
    terminal.print_tables(tables(report))
    if options.json is not None:
        files.write_json(options.json, report)
    if options.plot is not None:
        from dualform import plots

        plots.benchmark(report, options.plot)
    return OK


def _function(name: str):
    """MODULE:FUNCTION, found from the current folder as well."""
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"{name}: expected MODULE:FUNCTION, e.g. dualform.linear:dual")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ImportError as reason:
        raise ValueError(f"{name}: cannot import {module}: {reason}") from reason
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{name}: {module} has no {attribute}")
        found = getattr(found, part)
    return found


def _runs(name: str, function, inputs: list) -> None:
    """An exception of the user's own program at inputs of these shapes is bad usage, in one line."""
    from dualform.prove.errors import first_line
    from dualform.prove.programs import Program, Signature

    signature = Signature.of(inputs)
    try:
        Program.trace(function, signature)
    except Exception as reason:
        shapes = ", ".join(str(x.shape) for x in inputs)
        raise ValueError(f"{name}: at inputs {shapes}: {first_line(reason)}") from reason


def _input(text: str):
    """4,3 or scalar, with :log for the log domain."""
    from dualform.prove import Input

    shape, _, domain = text.partition(":")
    try:
        sizes = () if shape in ("scalar", "") else tuple(int(n) for n in shape.strip("()[], ").split(","))
    except ValueError:
        raise ValueError(f"--input {text}: expected sizes such as 4,3 or 'scalar', and ':log' for gates") from None
    return Input(sizes, domain or "field")


if __name__ == "__main__":
    sys.exit(main())
