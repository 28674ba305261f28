"""Other libraries on CPU, each called in its own layout and with its own conventions undone.

Every one is checked against dualform's output before it is timed. Scales of $K^{-1/2}$ that a library applies unasked
are part of what it does and are divided out of its queries.
"""

from importlib import import_module

from dualform.bench.subjects import Subject

SIMPLE, GLA, DELTA, GATED = "linear_attn", "retention", "delta", "gated_delta"


def _first(x):
    return x[0] if isinstance(x, tuple) else x


def _jla(module):
    names = {SIMPLE: "simple_gla", GLA: "simple_gla", DELTA: "delta_rule", GATED: "gated_delta_rule"}

    def load(rule):
        f = getattr(import_module(f"jla.ops.{module}"), names[rule])

        def run(q, k, v, **gates):
            if rule == SIMPLE:
                gates = {"g": 0 * v[..., 0]}
            return _first(f(q, k, v, **gates, scale=1.0))

        return run

    return load


def _fla(rule):
    if rule == SIMPLE:
        f = import_module("fla.ops.linear_attn.naive").naive_chunk_linear_attn
        return lambda q, k, v: _first(f(q, k, v, scale=1.0))
    if rule == GLA:
        f = import_module("fla.ops.simple_gla.naive").naive_chunk_simple_gla
        return lambda q, k, v, g: _first(f(q, k, v, g, scale=1.0))
    f = import_module("fla.ops.gated_delta_rule.naive").naive_chunk_gated_delta_rule
    return lambda q, k, v, beta, g: _first(f(q, k, v, g=g, beta=beta, scale=1.0))


def _fla_delta(rule):
    f = import_module("fla.ops.delta_rule.naive").delta_rule_chunkwise
    return lambda q, k, v, beta: _first(f(q * q.shape[-1] ** 0.5, k, v, beta))


def _opengdn(rule):
    f = import_module("opengdn.chunkwise").gated_delta_chunkwise
    return lambda q, k, v, beta, g: _first(f(q, k, v, g.exp(), beta))


def _fast_transformers(rule):
    f = import_module("fast_transformers.causal_product").causal_dot_product
    return lambda q, k, v: f(q.contiguous(), k.contiguous(), v.contiguous())


def _torch_chunks(rule, chunk=64):
    """What a user of torch writes by hand: batched products over all chunks, states by a cumulative sum."""
    torch = import_module("torch")

    def run(q, k, v):
        B, H, T, _ = q.shape
        q, k, v = (x.reshape(B * H, T // chunk, chunk, -1) for x in (q, k, v))
        writes = k.transpose(-1, -2) @ v
        states = writes.cumsum(1) - writes
        o = q @ states + torch.tril(q @ k.transpose(-1, -2)) @ v
        return o.reshape(B, H, T, -1)

    return run


SUBJECTS = (
    Subject("jax-linear-attention: scan", "jax-linear-attention", "jla", "jax", (SIMPLE, GLA, DELTA, GATED),
            _jla("reference"), differentiable=False),
    Subject("jax-linear-attention: chunks", "jax-linear-attention", "jla", "jax", (SIMPLE, GLA, DELTA, GATED),
            _jla("chunked")),
    Subject("flash-linear-attention: torch chunks", "fla-core", "fla", "torch", (SIMPLE, GLA, GATED), _fla),
    Subject("flash-linear-attention: torch chunks", "fla-core", "fla", "torch", (DELTA,), _fla_delta, "BHTD"),
    Subject("opengdn: chunks", "opengdn", "opengdn", "torch", (GATED,), _opengdn),
    Subject("pytorch-fast-transformers: C++", "pytorch-fast-transformers", "fast_transformers", "torch", (SIMPLE,),
            _fast_transformers, "BHTD"),
    Subject("torch: chunks by hand", "torch", "torch", "torch", (SIMPLE,), _torch_chunks, "BHTD"),
)  # fmt: skip


def installed() -> tuple[Subject, ...]:
    """Those that can be imported here."""
    return tuple(subject for subject in SUBJECTS if subject.version is not None and _imports(subject))


def _imports(subject: Subject) -> bool:
    try:
        subject.load(subject.rules[0])
    except (ImportError, AttributeError, OSError):
        return False
    return True
