"""PostHog's words for browsers, systems and kinds of devices, by what the sources call them.

PostHog's breakdowns split when two names mean one thing, so what Snowplow's enrichments say is put into the words of
posthog-js (packages/core/src/utils/user-agent-utils.ts). Keys are in lower case without blanks, since exports exist
that have lost the blanks (`MacOSX`). A name that is not listed is sent as it is.

The functions take what an entity holds, of whatever type; anything but text is unknown.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

UNKNOWN = frozenset({"", "unknown", "??", "other", "hacker", "anonymized", "null", "none"})
"""What the enrichments write when they do not know."""

BROWSERS = {
    "chrome": "Chrome",
    "chromemobile": "Chrome",
    "chromium": "Chrome",
    "headlesschrome": "Chrome",
    "chromewebview": "Chrome",
    "chromemobilewebview": "Chrome",
    "chromeios": "Chrome iOS",
    "chromemobileios": "Chrome iOS",
    "firefox": "Firefox",
    "firefoxmobile": "Firefox",
    "firefoxios": "Firefox iOS",
    "safari": "Safari",
    "applewebkit": "Safari",
    "mobilesafari": "Mobile Safari",
    "mobilesafariui/wkwebview": "Mobile Safari",
    "uiwebview": "Mobile Safari",
    "edge": "Microsoft Edge",
    "edgemobile": "Microsoft Edge",
    "microsoftedge": "Microsoft Edge",
    "microsoftedgemobile": "Microsoft Edge",
    "edgewebview": "Microsoft Edge",
    "edgewebview2": "Microsoft Edge",
    "opera": "Opera",
    "operamobile": "Opera",
    "operagx": "Opera",
    "operamini": "Opera Mini",
    "samsungbrowser": "Samsung Internet",
    "samsunginternet": "Samsung Internet",
    "ie": "Internet Explorer",
    "internetexplorer": "Internet Explorer",
    "iemobile": "Internet Explorer Mobile",
    "internetexplorermobile": "Internet Explorer Mobile",
    "facebook": "Facebook Mobile",
    "facebookapp": "Facebook Mobile",
    "facebookmobile": "Facebook Mobile",
    "ucbrowser": "UC Browser",
    "blackberry": "BlackBerry",
    "blackberrywebkit": "BlackBerry",
    "blackberrybrowser": "BlackBerry",
    "android": "Android Mobile",
    "androidbrowser": "Android Mobile",
    "androidwebkit": "Android Mobile",
    "stockbrowser": "Android Mobile",
    "konqueror": "Konqueror",
}

ON_IOS = {"Chrome": "Chrome iOS", "Firefox": "Firefox iOS", "Safari": "Mobile Safari"}
"""What posthog-js calls a browser on an iPhone or iPad."""

SYSTEMS = {
    "windows": "Windows",
    "windowsnt": "Windows",
    # ua_parser's names until 2019, with the version in them
    **dict.fromkeys(
        [f"windows{version}" for version in ("95", "98", "me", "2000", "xp", "vista", "7", "8", "8.1", "10", "11")],
        "Windows",
    ),
    "windowsrt": "Windows",
    "windowsrt8.1": "Windows",
    "windowsphone": "Windows Phone",
    "windowsphoneos": "Windows Phone",
    "windowsmobile": "Windows Mobile",
    "windowsce": "Windows Mobile",
    "macos": "Mac OS X",
    "macosx": "Mac OS X",
    "osx": "Mac OS X",
    "ios": "iOS",
    "ipados": "iOS",
    "iphoneos": "iOS",
    "macosx(iphone)": "iOS",
    "macosx(ipad)": "iOS",
    "macosx(ipod)": "iOS",
    "tvos": "iOS",
    "watchos": "watchOS",
    "android": "Android",
    "chromeos": "Chrome OS",
    "chromiumos": "Chrome OS",
    "linux": "Linux",
    "ubuntu": "Linux",
    "debian": "Linux",
    "fedora": "Linux",
    "gentoo": "Linux",
    "opensuse": "Linux",
    "suse": "Linux",
    "redhat": "Linux",
    "centos": "Linux",
    "archlinux": "Linux",
    "linuxmint": "Linux",
    "mint": "Linux",
    "blackberry": "BlackBerry",
    "blackberryos": "BlackBerry",
    "blackberrytabletos": "BlackBerry",
    "xbox": "Xbox",
    "xboxos": "Xbox",
    "playstation": "PlayStation",
    "orbisos": "PlayStation",
    "nintendo": "Nintendo",
    "nintendowii": "Nintendo",
    "nintendoswitch": "Nintendo",
}

DEVICE_TYPES = {
    # YAUAA's deviceClass
    "desktop": "Desktop",
    "phone": "Mobile",
    "mobile": "Mobile",
    "tablet": "Tablet",
    "ereader": "Tablet",
    "gameconsole": "Console",
    "handheldgameconsole": "Console",
    "console": "Console",
    "watch": "Wearable",
    "wearable": "Wearable",
    "virtualreality": "Wearable",
    "tv": "TV",
    "set-topbox": "TV",
    # dvce_type of user-agent-utils
    "computer": "Desktop",
    "digitalmediareceiver": "TV",
    "wearablecomputer": "Wearable",
}

TYPE_OF_SYSTEM = {
    "Windows": "Desktop",
    "Mac OS X": "Desktop",
    "Linux": "Desktop",
    "Chrome OS": "Desktop",
    "Windows Phone": "Mobile",
    "Windows Mobile": "Mobile",
    "BlackBerry": "Mobile",
    "watchOS": "Wearable",
    "Xbox": "Console",
    "PlayStation": "Console",
    "Nintendo": "Console",
}
"""The kind of device where only the system is known; phones and tablets need more than that."""

WINDOWS_VERSIONS = {
    "5.1": "XP",
    "5.2": "XP",
    "6.0": "Vista",
    "6.1": "7",
    "6.2": "8",
    "6.3": "8.1",
    "10.0": "10",
    "11.0": "11",
}
"""Version of Windows NT -> the name that people know, as posthog-js has it."""

_NO_DEVICES = frozenset({"Desktop", "Spider"})

_CACHED = 4096
"""Answers kept per function: versions and device names are many, but most events are of a few thousand."""


class _Words(dict[Any, str]):
    """What a source says -> PostHog's word. The usual spellings are looked up in C; nothing is added later."""

    def __init__(self, words: dict[str, str], usual: Iterable[str], otherwise: Callable[[str], str]) -> None:
        super().__init__((name, words[_key(name)]) for name in usual)
        self._words, self._otherwise = words, otherwise

    def __missing__(self, name: Any) -> str:
        if not isinstance(name, str):
            return ""
        key = _key(name)
        return "" if key in UNKNOWN else self._words.get(key) or self._otherwise(name)


def _key(name: str) -> str:
    return name.replace(" ", "").lower()


browser_name: Callable[[Any], str] = _Words(
    BROWSERS,
    ["Chrome", "Edge", "Firefox", "Safari", "Mobile Safari", "Chrome Mobile", "Opera", "Samsung Internet"],
    str,
).__getitem__
"""PostHog's name of a browser; empty if the source does not know."""

system_name: Callable[[Any], str] = _Words(
    SYSTEMS, ["Windows", "Windows NT", "Mac OS", "Mac OS X", "Android", "iOS", "Linux", "Ubuntu", "Chrome OS"], str
).__getitem__
"""PostHog's name of an operating system; empty if the source does not know."""

device_type: Callable[[Any], str] = _Words(
    DEVICE_TYPES, ["Desktop", "Phone", "Tablet", "Mobile", "Computer"], lambda name: ""
).__getitem__
"""PostHog's kind of device; empty for robots and whatever PostHog has no word for."""


@lru_cache(_CACHED)
def device_name(name: Any) -> str:
    """A device's name or brand as it is; empty if the source only says that it is some device."""
    if not isinstance(name, str) or _key(name) in UNKNOWN or name in _NO_DEVICES or name.startswith("Generic"):
        return ""
    return name


@lru_cache(_CACHED)
def system_version(system: str, version: Any) -> str:
    """The version without YAUAA's `>=`; empty unless it begins with a digit (YAUAA says `Intel x86_64` of Linux)."""
    if not isinstance(version, str):
        return ""
    version = version.removeprefix(">=").removeprefix(f"{system} ").strip()
    if system == "Windows":
        version = WINDOWS_VERSIONS.get(version, version)
        return version if version[:1].isdigit() or version in WINDOWS_VERSIONS.values() else ""
    return version if version[:1].isdigit() else ""


def version_number(version: Any) -> float | int | None:
    """Major and minor version as a number, which posthog-js sends: `15.10.1` -> 15.1, `120.0.6099` -> 120."""
    if not isinstance(version, str):
        return None
    return _number(".".join(version.split(".", 2)[:2]))


@lru_cache(_CACHED)
def _number(version: str) -> float | int | None:
    """The number of `major.minor`: of these there are few, whatever the builds behind them."""
    major, _, minor = version.removeprefix(">=").strip().partition(".")
    if not (major.isdigit() and major.isascii()) or len(major) > 6:
        return None
    if not (minor.isdigit() and minor.isascii()) or len(minor) > 6 or int(minor) == 0:
        return int(major)
    return float(f"{major}.{minor}")
