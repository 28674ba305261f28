"""Settings profiles for property tests of JAX code, each setting with its reason.

| profile    | examples | random | meant for                                         |
|------------|----------|--------|---------------------------------------------------|
| `dev`      | 30       | yes    | the edit-and-run loop: new cases on every run      |
| `ci`       | 100      | no     | a pull request: the same cases for the same code   |
| `thorough` | 2000     | yes    | a nightly or a release: search where `ci` did not  |

What holds in all of them:

- `deadline=None`: the first call with a new shape compiles (50-400 ms) and the second takes 0.1 ms. Under
  a deadline Hypothesis sees the slow call fail and its replay succeed, and reports a flaky test.
- `suppress_health_check=[too_slow, differing_executors]`: `too_slow` times the drawing of data and fires on a
  busy machine or on the first import of SciPy; `differing_executors` forbids running one property for many
  subjects, which is what a law checked for a list of implementations does. All other health checks stay on.
- `print_blob=True`: a failure prints the `@reproduce_failure` line that replays it anywhere.

`ci` is derandomised and keeps no database, since a red build has to be red again when it is run again, and
two workers that share a database directory influence each other. `thorough` keeps no database either: what
it finds belongs into the code as an `@example`.

Environment: `DUALFORM_PROFILE` names the profile, `DUALFORM_MAX_EXAMPLES` overrides the number of examples of
every profile, and `DUALFORM_RANDOMIZE=1` lets `ci` draw new cases.
"""

import os
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, settings

PROFILES: dict[str, dict[str, Any]] = {
    "dev": {"max_examples": 30},
    "ci": {"max_examples": 100, "derandomize": True, "database": None},
    "thorough": {"max_examples": 2000, "database": None},
}

COMMON: dict[str, Any] = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.differing_executors],
}


def register_profiles(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Register the profiles with Hypothesis and return their names; none is loaded.

    Args:
        environ: where `DUALFORM_MAX_EXAMPLES` and `DUALFORM_RANDOMIZE` are read; default `os.environ`.

    Returns:
        The names `("dev", "ci", "thorough")`, as `settings.load_profile` and pytest's
        `--hypothesis-profile` take them. Hypothesis's own profile `ci` is replaced.

    Raises:
        ValueError: an environment variable holds what it cannot mean.

    >>> register_profiles(environ={})
    ('dev', 'ci', 'thorough')
    """
    environ = os.environ if environ is None else environ
    # A profile inherits what it does not state from the profile that is loaded, unless told from which.
    parent = settings.get_profile("default")
    for name, options in PROFILES.items():
        settings.register_profile(name, parent, **{**COMMON, **options, **_overrides(environ, options)})
    return tuple(PROFILES)


def load_profile(name: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Register the profiles, load one, and return its name.

    Args:
        name: the profile; default `DUALFORM_PROFILE`, else `ci` where the variable `CI` is set, else `dev`.
        environ: the environment to read; default `os.environ`.

    Raises:
        ValueError: there is no profile of that name.

    A `conftest.py` needs one line:

        dualform.testing.load_profile()
    """
    environ = os.environ if environ is None else environ
    names = register_profiles(environ)
    name = name or environ.get("DUALFORM_PROFILE") or ("ci" if environ.get("CI") else "dev")
    if name not in names:
        raise ValueError(f"profile: got {name!r}, expected one of {', '.join(names)}; set DUALFORM_PROFILE to one")
    settings.load_profile(name)
    return name


def _overrides(environ: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if wanted := environ.get("DUALFORM_MAX_EXAMPLES"):
        if not wanted.isdecimal() or int(wanted) == 0:
            raise ValueError(f"DUALFORM_MAX_EXAMPLES: got {wanted!r}, expected a positive integer such as 500")
        overrides["max_examples"] = int(wanted)
    randomize = environ.get("DUALFORM_RANDOMIZE", "0")
    if randomize not in ("", "0", "1"):
        raise ValueError(f"DUALFORM_RANDOMIZE: got {randomize!r}, expected 1 (draw new cases) or 0")
    if randomize == "1" and options.get("derandomize"):
        overrides["derandomize"] = False
    return overrides
