"""Botocore sessions that start and list quickly: its own, with three slow parts replaced where it lets one do so.

    new_session() --create_client--> client --ListObjectsV2--> contents() ──> the keys
                                                                  └─ the rest of the answer --> botocore's parser

| per process, per listed key | botocore's | here |
|---|---|---|
| describing S3: 5 MB of JSON, and a look into 450 folders of other services | 0.1 s | 0.03 s |
| a LIST of 22,000 keys, most of it dates and fields that nobody reads | 2.2 s | 0.2 s |

Requests, signatures, retries and errors stay botocore's. boto3 itself is left out: it adds file transfers, 0.03 s.
"""

import contextlib
import datetime as dt
import email.utils
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import botocore.session
import orjson
from botocore.loaders import JSONFileLoader, Loader
from botocore.utils import parse_timestamp


class _Files(JSONFileLoader):
    """Reads botocore's descriptions with orjson: 12 instead of 55 ms."""

    def load_file(self, file_path: str) -> Any:
        """The content of `<file_path>.json` or `.json.gz`; None when there is neither."""
        for path, read in ((f"{file_path}.json", Path.read_bytes), (f"{file_path}.json.gz", _inflated)):
            with contextlib.suppress(FileNotFoundError):
                return orjson.loads(read(Path(path)))
        return None


def _inflated(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


class _Descriptions(Loader):
    """Takes every folder for a service, instead of looking for a description in each of them (25 ms)."""

    def list_available_services(self, type_name: str) -> list[str]:
        """The folders of services, whether they have a description of this type or not."""
        paths = [path for place in self.search_paths if (path := Path(place)).is_dir()]
        return sorted({service.name for path in paths for service in path.iterdir()})


_LOADER = _Descriptions(file_loader=_Files())


def new_session() -> botocore.session.Session:
    """A session with the process's descriptions of services (a second client takes 10 ms), dates and listings."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _LOADER)
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment)
    session.register("before-parse.s3.ListObjectsV2", contents)  # type: ignore[arg-type]  # named arguments only
    return session


def moment(value: Any) -> dt.datetime:
    """A date of an answer, with its zone: ISO 8601 in listings, RFC 5322 in headers, botocore's ways for all others."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            iso = value[10:11] == "T"
            found = dt.datetime.fromisoformat(value) if iso else email.utils.parsedate_to_datetime(value)
            if found.tzinfo is not None:
                return found
    parsed: dt.datetime = parse_timestamp(value)
    return parsed


def contents(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Take the keys out of a LIST's answer before botocore parses what is left (botocore's event `before-parse`).

    An answer that is no listing, or no XML, is left as it is: botocore tells what is wrong with it.
    """
    try:
        root = ET.fromstring(response_dict["body"])  # noqa: S314 - botocore reads it the same way, and expat bounds entities
    except ET.ParseError:
        return
    space = root.tag[: root.tag.find("}") + 1]
    found = root.findall(f"{space}Contents")
    if root.tag != f"{space}ListBucketResult" or not found:
        return
    known = {f"{space}{name}": (name, convert) for name, convert in _FIELDS.items()}
    customized_response_dict["Contents"] = [_key(item, known) for item in found]
    for item in found:
        root.remove(item)
    response_dict["body"] = ET.tostring(root)


def _key(item: ET.Element, known: dict[str, tuple[str, Callable[[str], Any]]]) -> dict[str, Any]:
    found = {}
    for field in item:
        if field.tag in known:
            name, convert = known[field.tag]
            found[name] = convert(field.text or "")
    return found


_FIELDS: dict[str, Callable[[str], Any]] = {
    "Key": str,
    "ETag": str,
    "Size": int,
    "LastModified": moment,
    "StorageClass": str,
}
"""What is read of a listed key, and as what; checksums, owners and restores are not."""
