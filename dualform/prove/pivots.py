"""Orders of pivots: all that an elimination could choose, one after another.

In floats the largest entry of a column is the pivot. Which one that is depends on the data and no rational function
describes it, but it is never zero where another is not. So a result that is the same for every choice of pivots that
are not zero is what the float program computes, and a result that is not is decided by comparisons of data.
"""

from dualform.prove.errors import ProofError

MOST = 200
"""Orders beyond which a program is not decided; a matrix of 5 rows has 120."""
TOO_MANY = (
    "a result depends on which pivots a factorisation chooses, in more than {} orders; use jnp.linalg.solve or "
    "jnp.linalg.inv, whose results are checked to be the same for all"
)


class Odometer:
    """Choices of pivots in the order in which a run asks for them, and what to choose in the next run.

    Only calls whose choices reach a result are `varied`; the others take the first row that may be taken.
    """

    def __init__(self):
        self.varied: set[int] = set()
        self._planned: list[int] = []
        self._trace: list[tuple[int, int, int]] = []  # (call, choice, number of choices)
        self._runs = 0
        self._calls = 0

    def begin(self) -> None:
        """A new run."""
        self._trace, self._calls = [], 0
        self._runs += 1

    def call(self) -> int:
        """The number of the next factorisation."""
        self._calls += 1
        return self._calls - 1

    def choose(self, call: int, count: int) -> int:
        """Which of `count` rows."""
        at = sum(seen in self.varied for seen, _, _ in self._trace) if call in self.varied else len(self._planned)
        choice = self._planned[at] if at < len(self._planned) else 0
        self._trace.append((call, choice, count))
        return choice

    def advance(self, reached: set[int]) -> bool:
        """Whether another run is needed, given the calls whose choices reached a result of this one.

        Raises:
            ProofError: more orders than can be tried.
        """
        if not reached <= self.varied:
            again = bool(self.varied)  # what was planned is of no use any more
            self.varied |= reached
            if again:
                self._planned = []
                return True
        path = [(choice, count) for call, choice, count in self._trace if call in self.varied]
        orders = 1
        for _, count in path:
            orders *= count
            if orders > MOST or self._runs > MOST:
                raise ProofError(TOO_MANY.format(MOST))
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return False
        self._planned = [choice for choice, _ in path]
        self._planned[-1] += 1
        return True
