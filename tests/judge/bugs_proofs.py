"""Bugs in proofs: what is compared, what is counted, what is said."""

from judge.bug import Bug

PROOFS = (
    Bug(
        'prove/relations.py', 'or not relations.hold(arguments, point.field):',
        ':', 'a relation is used without a check', 'proofs.exps',
    ),
    Bug(
        'prove/relations.py', 'return Fraction(r1, t1) if t1 and abs(t1) <= bound else None',
        'return Fraction(r1, t1) if t1 else None', 'fractions of any denominator are found', 'proofs.relation',
    ),
    Bug(
        'prove/relations.py', 'bound = isqrt(p // 2)',
        'bound = isqrt(p)', 'a residue has two fractions', 'proofs.relation',
    ),
    Bug(
        'prove/relations.py', 'return c.numerator * pow(c.denominator, -1, m) % m',
        'return c.numerator * c.denominator % m', 'halves are doubles', 'proofs.exps',
    ),
    Bug(
        'prove/relations.py', 'if len(pivots) <= len(rows) - 3:',
        'if len(pivots) <= len(rows):', 'relations of as many points as arguments', 'proofs.relation',
    ),
    Bug(
        'prove/relations.py', 'return run if np.array_equal(np.concatenate(run.fresh.arguments), arguments) else None',
        'return run', 'exponentials inside exponentials have relations', 'proofs.relation',
    ),
    Bug(
        'prove/relations.py', 'q = group.modulus',
        'q = 2 * group.modulus + 1', 'exponents are extended modulo p', 'proofs.relation',
    ),
    Bug(
        'prove/relations.py', 'low = max((-c for row',
        'low = max((c for row', 'a span knows no negative coefficient', 'proofs.relation',
    ),
    Bug(
        'prove/identity.py', 'trial = _compare(programs, leaves, primes, spare, rng)',
        'trial = _compare(programs, leaves, primes, primes[0], rng)', 'relations are found with a prime of the trials', 'proofs.exps',
    ),
    Bug(
        'prove/identity.py', 'entropy = [seed, fingerprint(programs, signature.leaves)]',
        'entropy = [seed]', 'draws do not depend on the programs', 'proofs.draws',
    ),
    Bug(
        'prove/identity.py', 'safe_primes(for_primes, 1 + trials)',
        'safe_primes(for_primes, 2)', 'one trial is made, whatever is asked', 'sizes.weighed',
    ),
    Bug(
        'prove/identity.py', 'if not seen.agree:\n            break',
        'pass', 'a later trial outvotes an earlier one', 'proofs.draws',
    ),
    Bug(
        'prove/identity.py', 'max(rate**trials, LEAST)',
        'rate**trials', 'a failure probability of zero', 'sizes.weighed',
    ),
    Bug(
        'prove/identity.py', 'chance = min(1.0, max(rate**trials, LEAST))',
        'chance = min(1.0, max(rate ** (trials + 1), LEAST))', 'one trial too many is counted', 'sizes.weighed',
    ),
    Bug(
        'prove/identity.py', 'rate, trials = size.rate if rational else size.modular, known.trials',
        'rate, trials = size.modular, known.trials', 'the chance of a bad prime is left out', 'sizes.weighed',
    ),
    Bug(
        'prove/identity.py', 'over_rationals=rational)',
        'over_rationals=True)', 'all that is proved holds over the rationals', 'sizes.weighed',
    ),
    Bug(
        'prove/identity.py', 'if rate <= RATE and chance <= CERTAIN:',
        'if rate <= RATE:', 'a likely failure is a proof', 'sizes.weighed',
    ),
    Bug(
        'prove/identity.py', 'or not size.witnessed or witness.exists(programs, leaves, rng)',
        'or not size.witnessed or size.conditions', 'nobody looks for a point where a proof holds', 'proofs.domains',
    ),
    Bug(
        'prove/identity.py', 'if example is None:\n        return undecided',
        'if example is None and not undecided.reason:\n        return undecided', 'no proof is a refutation', 'proofs.refutations',
    ),
    Bug(
        'prove/measure.py', '(self.degree + self.zeros + self.collisions)',
        '(self.degree + self.collisions)', 'zeros of denominators are left out', 'sizes.rates',
    ),
    Bug(
        'prove/measure.py', '2.0 ** (SIZE - 2) * 16 / 17 if',
        '2.0 ** (SIZE - 2) if', 'hashed exponents are taken for uniform', 'sizes.collisions',
    ),
    Bug(
        'prove/measure.py', '2.0 ** (SIZE - 2) * 16 / 17 if random_exponents else',
        '2.0 ** (SIZE - 1) if random_exponents else', 'exponents are drawn modulo p', 'sizes.collisions',
    ),
    Bug(
        'prove/measure.py', 'asked * (asked + 1) + 2 + basis + 2',
        'asked + 2 + basis + 2', 'arguments coincide with zero only', 'sizes.collisions',
    ),
    Bug(
        'prove/measure.py', 'self.height + self.denominators + self.distinct + self.related',
        'self.height + self.denominators + self.distinct', 'a relation has no height', 'sizes.rates',
    ),
    Bug(
        'prove/measure.py', 'h = np.logaddexp2(hx + cy, hy + cx) + np.maximum(x.k, y.k)',
        'h = np.logaddexp2(hx + cy, hy + cx)', 'binary places are left out', 'sizes.heights',
    ),
    Bug(
        'prove/measure.py', 'n = np.maximum(nx + dy, ny + dx)',
        'n = np.maximum(nx, ny)', 'denominators are not multiplied out', 'sizes.degrees',
    ),
    Bug(
        'prove/measure.py', 'denominators=sum(one.symbols.h) + sum(two.symbols.h)',
        'denominators=sum(one.symbols.h)', "the second program's denominators have no height", 'sizes.denominators',
    ),
    Bug(
        'prove/measure.py', 'zeros=sum(one.symbols.n) + sum(two.symbols.n)',
        'zeros=max(sum(one.symbols.n), sum(one.symbols.n))', 'the second program divides by nothing', 'sizes.denominators',
    ),
    Bug(
        'prove/measure.py', 'witnessed=bool(domains) or bool(denominators and asked)',
        'witnessed=bool(domains)', 'denominators with unknown functions need no point', 'proofs.domains',
    ),
    Bug(
        'prove/measure.py', 'np.maximum(np.where(above == ZERO, 0.0, above), below)',
        'np.where(above == ZERO, 0.0, above)', "the degree of a quotient is its numerator's", 'sizes.degrees',
    ),
    Bug(
        'prove/measure.py', 'return (arithmetic, out) if common == unit else run(common)',
        'return arithmetic, out', 'fractions of exponents are counted as whole', 'sizes.gates',
    ),
    Bug(
        'prove/measure.py', '(high + places + low + 1) if asked',
        '(high + low + 1) if asked', 'arguments have no binary places', 'sizes.collisions',
    ),
    Bug(
        'prove/measure.py', 'if any(each.unit != unit for seen in orders for each, _ in seen):',
        'if False:', 'two programs count exponents in two units', 'sizes.gates',
    ),
    Bug(
        'prove/size/rational.py', 'np.logaddexp2.reduce(h, axis=axis)',
        'h.max(axis=axis)', 'a sum is as high as its highest term', 'sizes.heights',
    ),
    Bug(
        'prove/size/rational.py', 'self.bound(a.n + b.n, a.h + b.h, a.k + b.k',
        'self.bound(a.n + b.n, np.maximum(a.h, b.h), a.k + b.k', 'a product is as high as its highest factor', 'sizes.heights',
    ),
    Bug(
        'prove/size/rational.py', 'self.bound(a.n + b.n, a.h + b.h, a.k + b.k',
        'self.bound(a.n + b.n, a.h + b.h, np.maximum(a.k, b.k)', 'binary places of a product do not add', 'sizes.heights',
    ),
    Bug(
        'prove/size/rational.py', 'self.bound(n, h, x.k * y, x.e * y)',
        'self.bound(n, h, x.k, x.e * y)', 'binary places of a power are those of its base', 'sizes.heights',
    ),
    Bug(
        'prove/size/rational.py', 'h + np.tensordot(self.h, lack, 1), common',
        'h, common', 'common denominators cost no height', 'sizes.heights',
    ),
    Bug(
        'prove/size/rational.py', 'self.new(max(n[i], 0.0), max(h[i] + k[i], 0.0)',
        'self.new(max(n[i], 0.0), max(h[i], 0.0)', 'a denominator has no binary places', 'sizes.denominators',
    ),
    Bug(
        'prove/size/rational.py', '("tag", int(tag[i])))',
        '("tag", 0))', 'all denominators are the same', 'sizes.denominators',
    ),
    Bug(
        'prove/size/rational.py', 'self.new(0.0, np.log2(float(m)), ("odd", m))',
        'self.new(0.0, 0.0, ("odd", m))', 'constant denominators have no height', 'sizes.denominators',
    ),
    Bug(
        'prove/size/rational.py', 'np.log2(np.abs(x)), binary_places(x))',
        'np.minimum(np.log2(np.abs(x)), 0.0), binary_places(x))', 'large constants have no height', 'sizes.heights',
    ),
    Bug(
        'prove/size/elementwise.py', 'total + varies * d.span[0], low',
        'total + varies, low', 'an exponential is no power of its basis', 'sizes.gates',
    ),
    Bug(
        'prove/size/elementwise.py', 'n = np.where(a.reset, ZERO, total + low * d.size)',
        'n = np.where(a.reset, ZERO, total)', 'negative powers are not multiplied out', 'sizes.gates',
    ),
    Bug(
        'prove/size/elementwise.py', 'given, (a,) = a, d.bounds(eqn, a)\n    d.ask(a)',
        'given, (a,) = a, d.bounds(eqn, a)', 'unknown functions have no arguments that coincide', 'sizes.collisions',
    ),
    Bug(
        'prove/size/elementwise.py', 'if y < 0:\n        d.divides(eqn, a.n)',
        'pass', 'a negative power is no division', 'sizes.certificates',
    ),
    Bug(
        'prove/size/logarithm.py', 'bound, lcm(a.denominator, b.denominator))',
        'bound, max(a.denominator, b.denominator))', 'halves and thirds are counted in thirds', 'sizes.gates',
    ),
    Bug(
        'prove/size/contractions.py', 'total, top, low = (contract(y, up) + contract(z, down) for y, z in pairs)',
        'total, top, low = (contract(y, up) for y, z in pairs)', 'negative weights of logarithms are left out', 'sizes.gates',
    ),
    Bug(
        'prove/size/contractions.py', 'return [d.symbols.bound(a.n.sum(axis=axes), a.h',
        'return [d.symbols.bound(a.n.max(axis=axes), a.h', 'a product has the degree of one factor', 'sizes.degrees',
    ),
    Bug(
        'prove/size/contractions.py', 'return _scatter(d, eqn, a, indices, updates, d.symbols.times)',
        'return _scatter(d, eqn, a, indices, updates, d.symbols.plus)', 'multiplied updates are added', 'sizes.degrees',
    ),
    Bug(
        'prove/size/solves.py', 's.new(degree[b] * k, step[b] * k)',
        's.new(degree[b], step[b] * k)', 'minors of all orders have the degree of an entry', 'sizes.denominators',
    ),
    Bug(
        'prove/size/solves.py', 's.new(degree[b] * k, step[b] * k)',
        's.new(degree[b] * k, step[b])', 'minors of all orders have the height of a row', 'sizes.denominators',
    ),
    Bug(
        'prove/size/__init__.py', 'self.asked += int(np.sum(varies))',
        'self.asked += int(np.any(varies))', 'an array of arguments is one argument', 'sizes.collisions',
    ),
    Bug(
        'prove/modular/elementwise.py', '"cosh", "erfc", "exp2")},',
        '"cosh", "erfc", "exp2", "sin")},', 'sin(0) is 1', 'proofs.zeros',
    ),
    Bug(
        'prove/modular/elementwise.py', 'spoiled(a, b, Residue(b.r, zero))',
        'spoiled(a, b)', 'a division by zero spoils nothing', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/elementwise.py', 'if a.root is not None and n % 2 == 0:',
        'if a.root is not None:', 'the cube of a root is the number', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/elementwise.py', 'if a is b and isinstance(a, Residue) and a.root is not None:',
        'if isinstance(a, Residue) and a.root is not None:', 'a root times anything is the number', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/elementwise.py', 'copy(a) if narrows(eqn) else a]',
        'a]', 'bfloat16 keeps every number', 'proofs.domains',
    ),
    Bug(
        'prove/modular/elementwise.py', 'found |= a.r == pole % m.field.modulus',
        'found |= a.r == max(pole, 0)', 'log1p has no pole', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/elementwise.py', 'np.where(a.reset, np.uint64(0), m.powers(h))',
        'm.powers(h)', 'a reset is no zero', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/elementwise.py', 'a.shape, c.shape)) <= 0)).any():',
        'a.shape, c.shape)) < 0)).any():', '-inf times 0 is -inf', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/elementwise.py', 'm.field.sub(power_.r, np.uint64(1))',
        'm.field.sub(power_.r, np.uint64(0))', 'expm1 is exp', 'proofs.exps',
    ),
    Bug(
        'prove/modular/contractions.py', 'return [Residue(m.field.matmul(left, right).reshape(shape), bad)]',
        'return [Residue(m.field.matmul(left, right).reshape(shape))]', 'a product of matrices heals 0/0', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/contractions.py', 'return scatter_add(m, eqn, a, indices, *neg(m, eqn, updates))',
        'return scatter_add(m, eqn, a, indices, updates)', 'subtracted updates are added', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/contractions.py', 'along(eqn, np.logical_or.accumulate, a.mask)',
        'a.mask', 'a running sum heals 0/0', 'proofs.algebra',
    ),
    Bug(
        'prove/modular/solves.py', 'chosen |= len(usable) > 1',
        'chosen |= len(usable) > rows', 'a choice of pivots is none', 'proofs.pivots',
    ),
    Bug(
        'prove/modular/solves.py', 'k + usable[m.pivots.choose(call, len(usable))]',
        'k + usable[0]', 'the first pivot is always taken', 'proofs.pivots',
    ),
    Bug(
        'prove/modular/solves.py', 'if not inside or any(np.any(v.r != m.field.add(w.r, z.r)) for v, w, z in zip(one, two, c, strict=True)):',
        'if not inside:', 'a system with many solutions has one', 'proofs.pivots',
    ),
    Bug(
        'prove/questions.py', 'if arithmetic.marks.partial(x):',
        'if False:', 'a logarithm is always finite', 'proofs.domains',
    ),
    Bug(
        'prove/questions.py', '"ge": ~yes, "gt": ~yes,',
        '"ge": yes, "gt": ~yes,', 'every number is at least infinity', 'proofs.algebra',
    ),
    Bug(
        'prove/questions.py', 'a, b, name = b, a, MIRRORED.get(name, name)',
        'a, b, name = b, a, name', '-inf < x is x < -inf', 'proofs.algebra',
    ),
    Bug(
        'prove/questions.py', 'bound = -np.inf if eqn.primitive.name == "max" else np.inf',
        'bound = np.inf if eqn.primitive.name == "max" else -np.inf', 'max(x, inf) is x', 'proofs.algebra',
    ),
    Bug(
        'prove/marks.py', '_Entry(x, marks | self.of(x))',
        '_Entry(x, marks)', 'a new mark takes the place of the old ones', 'sizes.certificates',
    ),
    Bug(
        'prove/marks.py', 'found if entry is None else found | entry.marks',
        'found if entry is None else entry.marks', "the last operand's marks count", 'sizes.certificates',
    ),
    Bug(
        'prove/interpreter.py', 'ravel(), side="right"))',
        'ravel(), side="left"))', 'the operand before is taken for the one that moved', 'proofs.domains',
    ),
    Bug(
        'prove/interpreter.py', 'self.marks.add(results, self.marks.of(*operands))',
        'pass', 'results forget what they depend on', 'proofs.domains',
    ),
    Bug(
        'prove/interpreter.py', 'return self._marked(moved, [x for i, x in enumerate(operands) if i not in positions])',
        'return moved', 'what an index depends on is forgotten', 'proofs.pivots',
    ),
    Bug(
        'prove/interpreter.py', 'len(branches) - 1))], rest), [which])',
        'len(branches) - 1))], rest), [])', 'what a branch depends on is forgotten', 'proofs.pivots',
    ),
    Bug(
        'prove/interpreter.py', 'tests += [go] if self.marks else []',
        'pass', 'what the length of a loop depends on is forgotten', 'proofs.pivots',
    ),
    Bug(
        'prove/interpreter.py', 'zip(operands, eqn.outvars, strict=True)], keys)',
        'zip(operands, eqn.outvars, strict=True)], [])', 'what an order depends on is forgotten', 'proofs.pivots',
    ),
    Bug(
        'prove/draw.py', 'zip(*self.results, strict=True)) and self.steady()',
        'zip(*self.results, strict=True))', 'agreement for one order of pivots is enough', 'proofs.pivots',
    ),
    Bug(
        'prove/draw.py', 'return (reset != other) | (((e != f)',
        'return (((e != f)', '-inf is as good as any number', 'proofs.algebra',
    ),
    Bug(
        'prove/draw.py', 'if any(isinstance(x, Residue) and x.bad is not None for x in out):',
        'if False:', 'an undefined result is compared', 'proofs.algebra',
    ),
    Bug(
        'prove/witness.py', 'return not any(x.bad.any() for x',
        'return not all(x.bad.any() for x', 'one result of two need be defined', 'proofs.domains',
    ),
    Bug(
        'prove/programs.py', 'if pair[0].dtypes != pair[1].dtypes:',
        'if False:', 'results of two dtypes are compared', 'proofs.refusals',
    ),
    Bug(
        'prove/programs.py', 'and d.itemsize < 4}',
        'and d.itemsize < 2}', 'bfloat16 is not said to be ignored', 'sizes.certificates',
    ),
    Bug(
        'prove/certificate.py', 'rounding=ROUND_CEILING',
        'rounding="ROUND_HALF_EVEN"', 'a printed probability is rounded down', 'sizes.certificates',
    ),
    Bug(
        'prove/certificate.py', 'return self.equal is True',
        'return self.equal is not False', 'undecided is true', 'sizes.certificates',
    ),
    Bug(
        'prove/certificate.py', 'RATIONALS if self.over_rationals else DRAWN',
        'RATIONALS', 'everything holds over the rationals', 'sizes.certificates',
    ),
    Bug(
        'prove/fingerprint.py', 'return _plain(x.val, known)',
        'return "literal"', 'literals leave no mark', 'proofs.draws',
    ),
    Bug(
        'prove/fingerprint.py', 'hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()',
        '"array"', 'constant arrays leave no mark', 'proofs.draws',
    ),
    Bug(
        'prove/fingerprint.py', 'parts.append([eqn.primitive.name, params, [atom(x) for x in eqn.invars],',
        'parts.append([eqn.primitive.name, params, len(eqn.invars),', 'wiring leaves no mark', 'proofs.draws',
    ),
    Bug(
        'prove/fingerprint.py', 'parts.append([eqn.primitive.name, params, [',
        'parts.append([eqn.primitive.name, [', 'parameters leave no mark', 'proofs.draws',
    ),
    Bug(
        'prove/parameters.py', 'if value is not None and value is not False and value != ():',
        'if value is True:', 'an unknown parameter is ignored', 'proofs.refusals',
    ),
    Bug(
        'prove/parameters.py', 'for parameter in sorted(needed - given):',
        'for parameter in ():', 'a missing parameter is guessed', 'proofs.refusals',
    ),
    Bug(
        'prove/counterexample.py', 'if differ is not None and place not in differ:\n            return None',
        'pass', 'a difference of rounding is a counterexample', 'proofs.refutations',
    ),
    Bug(
        'prove/counterexample.py', 'differ = ((x.high < y.low) | (x.low > y.high))',
        'differ = (x.mid != y.mid)', 'balls that meet are different numbers', 'proofs.refutations',
    ),
)
