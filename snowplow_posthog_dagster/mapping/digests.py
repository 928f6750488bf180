"""SHA-256 of a short text, once per event.

`hashlib.sha256` is OpenSSL's: it looks its algorithm up for every digest, which takes 2 us between other work where 36
bytes take 0.4. CPython's own is the same digest without that; its module has no public name and has changed it once, so
`hashlib` stands in where it is missing.
"""

import importlib
from collections.abc import Callable
from hashlib import sha256
from typing import Any


def _quickest() -> Callable[[bytes], Any]:
    for module in ("_sha2", "_sha256"):  # since Python 3.12, before
        try:
            built_in: Callable[[bytes], Any] = importlib.import_module(module).sha256
        except ImportError:
            continue
        return built_in
    return sha256


short_sha256 = _quickest()
"""`hashlib.sha256` for texts of a few dozen bytes."""
