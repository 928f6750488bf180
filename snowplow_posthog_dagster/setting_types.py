"""What the text of a setting may be, before its meaning is asked for, and how its faults are told.

Blank values of the environment are missing ones, and what Dagster's UI shows must hold no secret.
"""

import datetime as dt
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationError

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.storage.workspace import TARGET_NAME, TARGET_NAME_WORDS

ASSETS = ("snowplow_manifest", "posthog_batches", "posthog_events")
"""The assets that a run materializes."""
ALERTING_CHECKS = (
    "broken_objects",
    "hours_present",
    "records_present",
    "posthog_errors",
    "reconciled",
    "complete_in_time",
)
"""What is told of unless the settings say otherwise."""
CHECKS = (
    *ALERTING_CHECKS,
    "volume",
    "dead_letter_share",
    "repeat_share",
    "schema_drift",
    "latency",
    "nothing_left",
    "records_accounted_for",
)
"""Every check, by its name; here, because the settings name them and must not import Dagster."""

_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}|arn:\S+")
_OWNER = re.compile(r"team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")  # as Dagster has it
_CRON_FIELD = re.compile(r"[0-9A-Za-z*?/,#-]+")
_CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def no_blank(value: Any) -> Any:
    """Kubernetes secrets and shells leave blanks and newlines around values; an empty one is a missing one."""
    if isinstance(value, str):
        value = value.strip()
    return value or None


def strip_aws_variables() -> None:
    """The same for the variables that boto3 reads by itself: a Secret made of `echo KEY` ends in a newline."""
    for name, value in os.environ.items():
        if name.startswith("AWS_") and value != value.strip():
            os.environ[name] = value.strip()


def _token(token: SecretStr | None) -> SecretStr | None:
    if token and not all(one.isprintable() and not one.isspace() for one in token.get_secret_value()):
        raise ValueError("holds a blank or a line break; HTTP libraries show such a header in their errors")
    return token


def _proxy(address: str | None) -> str | None:
    if address is None:
        return None
    if "@" in address:
        raise ValueError(
            "a user or password has no place here, because Dagster's UI shows the fields of resources;"
            " let the proxy admit these machines by their address"
        )
    if not address.startswith(("http://", "https://")):
        raise ValueError("expected http://host:port")
    return address


def _bucket(name: str | None) -> str | None:
    if name and not _BUCKET.fullmatch(name):
        raise ValueError("expected the bucket's name alone, without s3:// and without a path")
    return name


def _target(name: str) -> str:
    """The name of a target; Dagster makes names of it when it loads, and a run would be the first to refuse it."""
    if not TARGET_NAME.fullmatch(name):
        raise ValueError(f"{name!r} {TARGET_NAME_WORDS}")
    return name


def _cron(text: str) -> str:
    fields = text.split()
    if not (text.startswith("@") or (len(fields) == 5 and all(map(_in_range, fields, _CRON_RANGES)))):
        raise ValueError(f"{text!r} is no cron schedule; expected five fields (UTC), such as 30 2 * * *")
    return text


def _in_range(field: str, ends: tuple[int, int]) -> bool:
    """Whether the numbers of a field lie in its range; names of days and months are left to Dagster."""
    numbers = re.findall(r"(?<![/\d])\d+", field)
    return bool(_CRON_FIELD.fullmatch(field)) and all(ends[0] <= int(number) <= ends[1] for number in numbers)


def _owner(text: str) -> str:
    if not _OWNER.fullmatch(text):
        raise ValueError(f"{text!r} is no owner; expected team:name or an e-mail address")
    return text


def _check(name: str) -> str:
    if name not in CHECKS:
        raise ValueError(f"{name!r} is no check; expected one of {', '.join(CHECKS)}")
    return name


Text = Annotated[str | None, BeforeValidator(no_blank)]
Target = Annotated[str, AfterValidator(_target), BeforeValidator(lambda value: no_blank(value) or "default")]
Flag = Annotated[bool, BeforeValidator(lambda value: no_blank(value) or False)]
BucketName = Annotated[str | None, AfterValidator(_bucket), BeforeValidator(no_blank)]
Cron = Annotated[str, AfterValidator(_cron)]
Owner = Annotated[str, AfterValidator(_owner)]
CheckName = Annotated[str, AfterValidator(_check)]
Secret = Annotated[SecretStr | None, BeforeValidator(no_blank)]
Token = Annotated[SecretStr | None, AfterValidator(_token), BeforeValidator(no_blank)]
"""A secret that stands in a header."""
Date = Annotated[dt.date | None, BeforeValidator(no_blank)]
ProxyAddress = Annotated[str | None, AfterValidator(_proxy)]
"""`http://host:port` of a proxy, without credentials."""


class _OnceOnly(yaml.SafeLoader):
    """Refuses a name that stands twice in one place: YAML takes the last, and the first is gone unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _yaml_fault(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]


def sections_of(path: str | os.PathLike[str]) -> dict[Any, Any]:
    """The content of a settings file by its sections. Raises SettingsError."""
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _OnceOnly) or {}  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise SettingsError(f"SNOWPLOW_POSTHOG_SETTINGS names {path}, which cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 (byte {error.start + 1})") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {_yaml_fault(error)}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no sections; expected such as `archive:` at the beginning of a line")
    return content


def fault_lines(error: ValidationError, name: Callable[[list[str]], str]) -> str:
    """One line per fault, without the offending input, which may be a secret."""
    return "\n".join(
        f"{name([str(part) for part in fault['loc']])}: {_plain(fault['msg'])}" for fault in error.errors()
    )


def _plain(message: str) -> str:
    """The words of pydantic without Python's: who writes YAML knows lists and no tuples."""
    return (
        message.removeprefix("Value error, ").replace("valid tuple", "list, as in [one, two]").replace("Tuple", "List")
    )
