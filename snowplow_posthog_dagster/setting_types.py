"""What the text of a setting may be, before its meaning is asked for.

Blank values of the environment are missing ones, and what Dagster's UI shows must hold no secret.
"""

import datetime as dt
import urllib.parse
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr


def no_blank(value: Any) -> Any:
    """Kubernetes secrets and shells leave blanks and newlines around values; an empty one is a missing one."""
    if isinstance(value, str):
        value = value.strip()
    return value or None


def _without_password(address: str | None) -> str | None:
    if address and "@" in urllib.parse.urlsplit(address).netloc:
        raise ValueError(
            "a user or password has no place here, because Dagster's UI shows the fields of resources;"
            " let the proxy admit these machines by their address"
        )
    return address


Text = Annotated[str | None, BeforeValidator(no_blank)]
Secret = Annotated[SecretStr | None, BeforeValidator(no_blank)]
Date = Annotated[dt.date | None, BeforeValidator(no_blank)]
ProxyAddress = Annotated[str | None, AfterValidator(_without_password)]
"""`http://host:port` of a proxy, without credentials."""
