"""Chapter 3. The engine: programs interpreted in other arithmetics. It knows nothing of attention.

`identical` proves or refutes that two programs are the same function; `degree` bounds how large they are;
`rounding_bound` bounds what floating point does to one. See `docs/proof-and-rounding.md`.
"""

from dualform.prove.certificate import Certificate as Certificate
from dualform.prove.certificate import Counterexample as Counterexample
from dualform.prove.errors import ProofError as ProofError
from dualform.prove.errors import UnsupportedPrimitive as UnsupportedPrimitive
from dualform.prove.identity import identical as identical
from dualform.prove.measure import degree as degree
from dualform.prove.measure import degrees as degrees
from dualform.prove.programs import Input as Input
from dualform.prove.rounding import rounding_bound as rounding_bound
