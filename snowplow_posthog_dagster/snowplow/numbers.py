"""Integers, doubles and booleans of the TSV, strictly.

Python's own `int` and `float` also take `1_000`, ` 3`, Arabic digits, `nan` and `1e400`: one of them in a body is
wrong data or invalid JSON. Accepted is what both the Scala and the Python SDK accept, so that the counts of good and
bad records agree with theirs.
"""

from math import inf

_INTEGER_MIN = -(2**31)
_INTEGER_MAX = 2**31 - 1
_LONGEST = 400  # a longer text is no number that any tracker sent, and `int` takes quadratic time


def to_integer(text: str) -> int | None:
    """A Java Integer (32 bit, signed) in ASCII digits with an optional sign, None when the text is none."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isdigit() and digits.isascii()) or len(digits) > _LONGEST:
        return None
    number = int(text)
    return number if _INTEGER_MIN <= number <= _INTEGER_MAX else None


def to_double(text: str) -> float | None:
    """A finite decimal number in ASCII with an optional exponent, None when the text is none.

    Covers what Enrich writes: `Float.toString` (`1.0E-5`) and `BigDecimal.toString` (`1E+3`). Blanks around it are
    passed over, as Java and Python both do for doubles and not for integers.
    """
    try:
        number = float(text)
    except ValueError:
        return None
    if not -inf < number < inf or "_" in text or not text.isascii() or len(text) > _LONGEST:
        return None
    return number


def to_boolean(text: str) -> bool | None:
    """`1` or `0`, None for anything else."""
    return _BOOLEANS.get(text)


_BOOLEANS = {"0": False, "1": True}
