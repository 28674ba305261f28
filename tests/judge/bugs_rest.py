"""Bugs in what judges laws, in commands, benchmarks and strategies, and in references."""

from judge.bug import Bug

REST = (
    Bug(
        'laws/checks.py', 'if certificate.equal is not False:',
        'if certificate.equal is True:', 'an undecided claim is refuted', 'verdicts.claims',
    ),
    Bug(
        'laws/checks.py', 'np.where(error == 0, 0.0, error / b)',
        'np.where(error == 0, 0.0, error / np.max(b))', 'all elements have the largest bound', 'verdicts.ratios',
    ),
    Bug(
        'laws/checks.py', 'if certificate.equal is not True:',
        'if certificate.equal is False:', 'an undecided form is proved', 'verdicts.proved',
    ),
    Bug(
        'laws/checks.py', 'if not result.details:',
        'if not cases:', 'a law that compares nothing passes', 'verdicts.proved',
    ),
    Bug(
        'laws/checks.py', 'total += certificate.failure_probability if certificate.equal else 0.0',
        'total = certificate.failure_probability if certificate.equal else total', 'the last failure probability is that of all', 'verdicts.proved',
    ),
    Bug(
        'laws/checks.py', 'np.max(np.where(np.isnan(gap), np.inf, gap), initial=0.0)',
        'np.max(gap, initial=0.0)', 'NaN is no difference', 'verdicts.ratios',
    ),
    Bug(
        'laws/checks.py', 'ratio = np.where(np.isnan(ratio), np.inf, ratio)',
        'ratio = np.nan_to_num(ratio)', 'NaN is within the bound', 'verdicts.ratios',
    ),
    Bug(
        'laws/checks.py', 'if np.shape(x) != np.shape(y):',
        'if np.size(x) != np.size(y):', 'shapes may differ where sizes do not', 'verdicts.ratios',
    ),
    Bug(
        'laws/checks.py', 'if not entry["ratio"] <= 1.0:',
        'if entry["ratio"] == np.inf:', 'only infinite errors are too large', 'verdicts.bounds',
    ),
    Bug(
        'laws/checks.py', '                _fail(result, f"{case.name}: the bound of \'{name}\' in {dtype} is {entry[\'relative\']:.2g} of the output")',
        '                pass', 'a bound that says nothing passes', 'verdicts.bounds',
    ),
    Bug(
        'laws/checks.py', 'differentiated = gradients and case.gradient and others',
        'differentiated = False', 'gradients are not compared', 'verdicts.proved',
    ),
    Bug(
        'laws/checks.py', '    if not m.holds:',
        '    if m.holds is False:', "numpy's false is true", 'verdicts.claims',
    ),
    Bug(
        'laws/checks.py', 'for name, form in others:',
        'for name, form in others[:1]:', 'the third form is not compared', 'verdicts.proved',
    ),
    Bug(
        'laws/checks.py', 'if self.traceback:',
        'if self.traceback and self.passed:', 'a crash is a failure of the law', 'verdicts.runs',
    ),
    Bug(
        'laws/checks.py', 'if ratio[i] >= worst["ratio"]:',
        'if ratio[i] <= worst["ratio"]:', 'the best array counts', 'verdicts.ratios',
    ),
    Bug(
        'laws/checks.py', 'worst["relative"] = max(worst["relative"], float(np.max(b)) / size if size else 0.0)',
        'worst["relative"] = max(worst["relative"], float(np.min(b)) / size if size else 0.0)', 'the smallest bound is measured against the output', 'verdicts.ratios',
    ),
    Bug(
        'laws/checks.py', '"ratio": float("inf") if error else 0.0',
        '"ratio": float(error)', 'a form that must not round may do so a little', 'verdicts.ratios',
    ),
    Bug(
        'laws/law.py', 'return replace(self, forms={**self.forms, name: form})\n\n\n@dataclass(frozen=True)\nclass Case:',
        'return replace(self, forms={name: form, **self.forms})\n\n\n@dataclass(frozen=True)\nclass Case:', 'an experiment keeps the right form', 'verdicts.claims',
    ),
    Bug(
        'laws/law.py', 'return replace(self, forms={**self.forms, name: form})\n\n\ndef widened',
        'return replace(self, forms={name: form, **self.forms})\n\n\ndef widened', 'a case keeps the right form', 'verdicts.claims',
    ),
    Bug(
        'laws/law.py', 'jnp.promote_types(x.dtype, jnp.float32))',
        'x.dtype)', '16-bit forms are computed in 16 bits', 'verdicts.claims',
    ),
    Bug(
        'laws/sampling.py', 'fits = all(abs(r - 1) <= SIGMAS * e and abs(z) <= SIGMAS for',
        'fits = any(abs(r - 1) <= SIGMAS * e and abs(z) <= SIGMAS for', 'one pair that fits is enough', 'verdicts.samplers',
    ),
    Bug(
        'laws/sampling.py', 'abs(r - 1) <= SIGMAS * e and abs(z) <= SIGMAS for',
        'abs(r - 1) <= SIGMAS * e for', 'a bias does not count', 'verdicts.samplers',
    ),
    Bug(
        'laws/sampling.py', 'fits and not min(r - SIGMAS * e for r, e, _ in found) <= control <= max(r + SIGMAS * e for r, e, _ in found),',
        'fits,', 'the control may fit as well', 'verdicts.samplers',
    ),
    Bug(
        'laws/sampling.py', 'float(np.std(x) / np.sqrt(len(x)))',
        'float(np.std(x))', 'the error of a mean is that of one number', 'verdicts.samplers',
    ),
    Bug(
        'verify.py', 'return bool(self.results) and all(r.passed for r in self.results)',
        'return all(r.passed for r in self.results)', 'a run of nothing passes', 'verdicts.runs',
    ),
    Bug(
        'verify.py', 'return bool(self.results) and all(r.passed for r in self.results)',
        'return any(r.passed for r in self.results)', 'one law speaks for all', 'verdicts.runs',
    ),
    Bug(
        'verify.py', 'return [_crashed(law.label, law.title, stamp, error, started)]',
        'return []', 'a law that crashes leaves no row', 'verdicts.runs',
    ),
    Bug(
        'verify.py', 'return Result(label, title, stamp, False, reason=reason',
        'return Result(label, title, stamp, True, reason=reason', 'a law that crashes passes', 'verdicts.runs',
    ),
    Bug(
        'verify.py', 'of_stamp = seed if stamp != PROVED or proof_seed is None else proof_seed',
        'of_stamp = seed', 'proofs are drawn with the seed of data', 'verdicts.runs',
    ),
    Bug(
        'verify.py', 'for stamp in law.stamps:',
        'for stamp in law.stamps[:1]:', 'the first stamp is the only one', 'verdicts.runs',
    ),
    Bug(
        'verify.py', 'seed = report.proof_seed if result.stamp == PROVED else report.seed',
        'seed = report.seed', 'a script repeats another proof', 'verdicts.runs',
    ),
    Bug(
        'verify.py', 'dtypes=DTYPES["quick" if quick else "full"])]',
        'dtypes=DTYPES["quick"])]', 'a full run is in float32 only', 'verdicts.runs',
    ),
    Bug(
        'verify.py', 'result.passed = bool(c.ratio <= 1.0) and not result.vacuous',
        'result.passed = bool(c.ratio <= 1.0) or result.vacuous', 'a network is rebuilt within a bound that says nothing', 'verdicts.trained',
    ),
    Bug(
        'verify.py', 'result.vacuous = bool(np.max(c.bound) >',
        'result.vacuous = bool(np.min(c.bound) >', 'the best digit speaks for all', 'verdicts.trained',
    ),
    Bug(
        'cli.py', 'return OK if report.passed else FAILED',
        'return OK if report.results else FAILED', 'verify ends with 0 though laws failed', 'verdicts.statuses',
    ),
    Bug(
        'cli.py', 'return OK if certificate.equal else FAILED',
        'return OK if certificate.equal is not False else FAILED', 'prove ends with 0 where nothing is known', 'verdicts.statuses',
    ),
    Bug(
        'cli.py', 'file=sys.stderr)\n        return USAGE',
        'file=sys.stderr)\n        return OK', 'bad usage ends with 0', 'verdicts.statuses',
    ),
    Bug(
        'cli.py', 'verdict = "every law earned its stamp" if report.passed else',
        'verdict = "every law earned its stamp" if report.results else', 'the last line says that all is well', 'verdicts.statuses',
    ),
    Bug(
        'bench/timing.py', 'Times(min(x),',
        'Times(max(x),', 'the slowest round is the best', 'benches.timings',
    ),
    Bug(
        'bench/timing.py', 'Times(min(x), float(np.median(x))',
        'Times(min(x), float(np.mean(x))', 'the median is the mean', 'benches.timings',
    ),
    Bug(
        'bench/timing.py', 'times[name].append(1e3 * (time.perf_counter() - before))',
        'times[name].append(1e3 * (time.perf_counter() - started))', 'every round counts from the first', 'benches.timings',
    ),
    Bug(
        'bench/timing.py', 'for turn in range(2):',
        'for turn in range(1):', 'the second round of warm-up is left out', 'benches.timings',
    ),
    Bug(
        'bench/timing.py', 'if turn >= least and time',
        'if turn >= least or time', 'rounds end as soon as they may', 'benches.timings',
    ),
    Bug(
        'bench/timing.py', '2 * size**3',
        'size**3', 'a matrix product is half as fast', 'benches.timings',
    ),
    Bug(
        'bench/report.py', 'row["best_ms"] / min(others) if',
        'row["best_ms"] / max(others) if', 'the slowest peer is compared', 'benches.ratios',
    ),
    Bug(
        'bench/report.py', 'if is_peer(other, rows) and _problem(other) == _problem(row)]',
        'if is_peer(other, rows) and other["rule"] == row["rule"]]', 'peers of other problems are compared', 'benches.ratios',
    ),
    Bug(
        'bench/report.py', 'return all(x <= AGREES for x in off)',
        'return not any(x > AGREES for x in off)', 'a peer that returns NaN computes the same', 'benches.ratios',
    ),
    Bug(
        'bench/report.py', 'if (r["subject"], r["rule"]) == (row["subject"], row["rule"]) and r["differs"] is not None',
        'if r is row and r["differs"] is not None', 'a peer that is wrong forward is right backward', 'benches.ratios',
    ),
    Bug(
        'bench/report.py', 'for r in sorted(lengths, key=lambda r: -r["T"])}',
        'for r in sorted(lengths, key=lambda r: r["T"])}', 'lengths are compared with the longest', 'benches.ratios',
    ),
    Bug(
        'bench/run.py', '    if done.returncode:',
        '    if done.returncode < 0:', 'a process that fails is taken for one that found nothing', 'benches.processes',
    ),
    Bug(
        'bench/run.py', '"OMP_NUM_THREADS": str(task["threads"])}',
        '"OMP_NUM_THREADS": "1"}', 'all threads are one', 'benches.processes',
    ),
    Bug(
        'bench/worker.py', 'product / times.best / 1e6 / rate',
        'product / times.median / 1e6 / rate', 'the rate is that of the median', 'benches.rates',
    ),
    Bug(
        'bench/worker.py', '1e6 * in_order.best / len(cuts) / T',
        '1e6 * in_order.best / T', 'many sequences are timed as one', 'benches.rates',
    ),
    Bug(
        'bench/flops.py', 'total += 2 * inner *',
        'total += inner *', 'additions are not counted', 'benches.rates',
    ),
    Bug(
        'bench/flops.py', 'times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1',
        'times = 1', 'a loop counts once', 'benches.rates',
    ),
    Bug(
        'bench/problems.py', '* (3 if problem.direction == BOTH else 1)',
        '* (2 if problem.direction == BOTH else 1)', 'a backward pass costs as much as a forward one', 'benches.rates',
    ),
    Bug(
        'testing/mutants/mutant.py', 'replace(law, cases=(self._plant(case),), quick=())',
        'replace(law, cases=(case,), quick=())', 'the bug is not planted', 'strategies.mutants',
    ),
    Bug(
        'testing/mutants/mutant.py', 'undecided = undecided or catch\n    return undecided',
        'undecided = undecided or catch\n    return None', 'what is undecided is not caught', 'strategies.mutants',
    ),
    Bug(
        'testing/mutants/mutant.py', 'kept = kept if len(kept) > 1 else dict([*case.forms.items()][:2])',
        'pass', 'a definition is compared with nothing', 'strategies.mutants',
    ),
    Bug(
        'testing/mutants/mutant.py', 'if not _compares(law, stamp, of) or (of == "gradient" and undecided):',
        'if not _compares(law, stamp, of) or of == "gradient":', 'gradients are not looked at', 'strategies.mutants',
    ),
    Bug(
        'testing/mutants/mutant.py', 'for name, c in catches.items() if c is None)',
        'for name, c in catches.items() if c is not None)', 'what was caught is missed', 'strategies.mutants',
    ),
    Bug(
        'testing/mutants/mutant.py', 'law.measure.with_form(self.form, self.replacement))',
        'law.measure)', 'the bug is not planted in experiments', 'strategies.mutants',
    ),
    Bug(
        'testing/floats.py', 'float(jnp.finfo(dtype).tiny), np.zeros((), dtype), array)',
        '0.0, np.zeros((), dtype), array)', 'subnormal numbers are drawn', 'strategies.arrays',
    ),
    Bug(
        'testing/values.py', 'np.concatenate([base, -base, odd])',
        'np.concatenate([base, base, odd])', 'rows that cancel add up', 'strategies.arrays',
    ),
    Bug(
        'testing/keys.py', 'rng.integers(0, min(n, K, 5))',
        'rng.integers(0, min(n, K, 5) + 1)', 'rank-deficient keys have full rank', 'strategies.key_kinds',
    ),
    Bug(
        'testing/keys.py', 'rows[rng.permutation(n)[: rng.integers(1, n + 1)]] = 0.0',
        'rows[rng.permutation(n)[: rng.integers(0, n + 1)]] = 0.0', 'keys with zeros have none', 'strategies.key_kinds',
    ),
    Bug(
        'testing/keys.py', '_unit_rows(rng, n - 1 - int(rng.integers(0, n - 1)), K)',
        '_unit_rows(rng, n, K)', 'duplicate keys are all different', 'strategies.key_kinds',
    ),
    Bug(
        'testing/gates.py', 'return _mixed(shape, dtype, specials, -20.0, 0.0)',
        'return _mixed(shape, dtype, specials, -20.0, 1.0)', 'decays grow', 'strategies.gate_values',
    ),
    Bug(
        'testing/gates.py', 'specials = LOG_DECAYS if reset else LOG_DECAYS[:-1]',
        'specials = LOG_DECAYS[:-1]', 'no gate is reset', 'strategies.gate_values',
    ),
    Bug(
        'testing/gates.py', 'tuple(beta for beta in STEP_SIZES if beta <= high)',
        'STEP_SIZES', 'step sizes pass their limit', 'strategies.gate_values',
    ),
    Bug(
        'testing/problems.py', 'np.concatenate([half.E, -half.E,',
        'np.concatenate([half.E, half.E,', 'updates that cancel add up', 'strategies.problem_kinds',
    ),
    Bug(
        'testing/problems.py', 'limit = 2 ** (jnp.finfo(dtype).nmant + 1)',
        'limit = 2 ** (jnp.finfo(dtype).nmant + 3)', 'exact integers round', 'strategies.problem_kinds',
    ),
    Bug(
        'testing/shapes.py', 'next((b for b in sorted(buckets) if b >= size)',
        'next((b for b in sorted(buckets) if b > size)', 'a full bucket is too small', 'strategies.problem_kinds',
    ),
    Bug(
        'testing/shapes.py', 'chunk_size - 1, chunk_size, chunk_size + 1,',
        'chunk_size - 1, chunk_size,', 'no sequence ends behind the edge of a chunk', 'strategies.problem_kinds',
    ),
    Bug(
        'testing/tracing.py', 'if traces > limit:',
        'if traces > limit + 1:', 'one trace too many is right', 'strategies.traces',
    ),
    Bug(
        'testing/profiles.py', '"derandomize": True, "database": None}',
        '"derandomize": False, "database": None}', 'a pull request draws new cases', 'strategies.traces',
    ),
    Bug(
        'rules/heads.py', 'jnp.tile(x, (B,) + (1,) * (x.ndim - 1))',
        'jnp.repeat(x, B, axis=0)', 'a sequence has the heads of another', 'strategies.references',
    ),
    Bug(
        'rules/heads.py', 'None if ids is None else jnp.repeat(ids, H, axis=0)',
        'None if ids is None else jnp.tile(ids, (H, 1))', 'a head has the segments of another sequence', 'strategies.references',
    ),
    Bug(
        'rules/heads.py', 'jnp.repeat(x, H // Hk, axis=2)',
        'jnp.tile(x, (1, 1, H // Hk, 1))', 'values read the keys of another group', 'strategies.references',
    ),
    Bug(
        'regression/baselines.py', 'if d - 1 <= k <= d + 1:',
        'if d - 1 < k <= d + 1:', 'least squares of d - 1 examples has a risk', 'strategies.references',
    ),
    Bug(
        'regression/baselines.py', 'return float("inf") if k else 1.0',
        'return float("inf")', 'no example has an infinite risk', 'strategies.references',
    ),
    Bug(
        'regression/baselines.py', 'sigma**2 / (k - d - 1)',
        'sigma**2 / (k - d)', 'least squares of many examples is better than it is', 'strategies.references',
    ),
    Bug(
        'regression/baselines.py', 'return lam**2 * tau**2 * jnp.sum(A * A.T)',
        'return lam * tau**2 * jnp.sum(A * A.T)', 'the bias of ridge is not squared', 'strategies.references',
    ),
)
