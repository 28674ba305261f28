r"""Safe primes just below $2^{61}$, from which every trial of a proof draws its own modulus.

A float constant is an integer times a power of two, so a program may contain $2^{61}$ exactly, and modulo the Mersenne
prime $2^{61} - 1$ the function $x \mapsto 2^{61} x$ *is* the identity. No fixed prime is safe from such accidents; a
prime drawn at random after the programs are fixed is. Each prime here is safe, $p = 2q + 1$ with $q$ prime, so that the
squares form a group of prime order $q$: exponents live in the field $\mathbb{Z}_q$ and may be divided, which the
log-domain arithmetic needs (see `dualform.prove.modular`).

All are written $2^{61} - c$ with $c < 2^{18}$: then $2^{61} \equiv c$, and a product is reduced by two multiplications.
"""

SIZE = 61
"""Bits of every prime."""

OFFSETS = (
    2373, 3153, 7245, 8133, 8613, 9189, 9729, 9849, 15609, 22209, 25353, 28749, 32373, 35649, 35865, 37569,
    37953, 37989, 39009, 39585, 43545, 49005, 49833, 54369, 58149, 60333, 60753, 62109, 62145, 66345, 74529, 77565,
    80349, 80889, 81273, 82065, 83265, 84633, 90153, 91773, 96165, 96645, 96789, 101049, 108909, 111369, 116493, 117345,
    117969, 118005, 119613, 120945, 121125, 123693, 126045, 130305, 130653, 135765, 136485, 136689, 141225, 142629,
    148665, 149433, 150993, 158805, 159549, 159885, 160725, 160893, 163293, 165633, 172605, 174069, 177525, 182973,
    195369, 195585, 197889, 199953, 200613, 201009, 206409, 216549, 218673, 220125, 223845, 224133, 225453, 227433,
    229809, 245385, 247065, 247329, 248493, 248853,
)  # fmt: skip
"""The numbers c for which 2**61 - c is a safe prime, in order: the 96 largest safe primes below 2**61."""

SAFE_PRIMES = tuple((1 << SIZE) - c for c in OFFSETS)
"""The primes p = 2 q + 1, largest first."""
