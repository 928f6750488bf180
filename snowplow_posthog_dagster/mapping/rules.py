"""How a rule declares itself, so that the table in docs/mapping.md and `fields` come from the code that acts."""

from typing import NamedTuple


class Rule(NamedTuple):
    """One line of the mapping table."""

    target: str
    """What is set: a property, or a part of the envelope such as `timestamp`."""
    source: str
    """Columns and entities that it comes from."""
    text: str
    """What is done, in one or two sentences."""
