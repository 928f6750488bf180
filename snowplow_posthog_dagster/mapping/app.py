"""Apps: screen, version, device and network from the entities of Snowplow's mobile trackers; and the tracker."""

from functools import lru_cache

from snowplow_posthog_dagster.mapping.browser import YAUAA
from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.identity import Found
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Data
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.vocabulary import TYPE_OF_SYSTEM, device_type, system_name, system_version

RULES = (
    Rule("$screen_name", "screen_view.name, else screen.name", "The event's own data before the entity."),
    Rule("$os, $os_version", "mobile_context.osType, osVersion", "Before any source of browser.py."),
    Rule("$device_model, $device_manufacturer", "mobile_context.deviceModel, deviceManufacturer", "As they are."),
    Rule(
        "$device_type",
        "mobile_context.osType, deviceModel, yauaa_context.deviceClass",
        "By the system where it tells; an iPad is a `Tablet`, an Android device what YAUAA says of it; else `Mobile`.",
    ),
    Rule("$network_carrier", "mobile_context.carrier", "As it is."),
    Rule("$network_wifi, $network_cellular", "mobile_context.networkType", "True or false when it is wifi or mobile."),
    Rule("$app_version, $app_build", "application.version, build", "As they are."),
    Rule("$app_name, $app_namespace", "app_id, on events with the application entity", "The id of the app."),
    Rule("$lib, $lib_version", "v_tracker", "`js-3.23.0` becomes `snowplow-js` and `3.23.0`."),
)

MOBILE = "com.snowplowanalytics.snowplow/mobile_context"
APPLICATION = "com.snowplowanalytics.mobile/application"
SCREEN = "com.snowplowanalytics.mobile/screen"

KIND_OF_APPLE_SYSTEM = {"tvos": "TV", "watchos": "Wearable"}
"""osType in lower case -> kind of device, where PostHog's name of the system does not tell."""


def describe_app(columns: Columns, properties: Properties, found: Found) -> None:
    """Set what the entities of an app say."""
    mobile = found.get(MOBILE)
    if mobile:
        _describe_device(properties, mobile, found.get(YAUAA))
    application = found.get(APPLICATION)
    if application:
        _set(properties, "$app_version", application.get("version"))
        _set(properties, "$app_build", application.get("build"))
        _set(properties, "$app_name", columns.app_id)
        _set(properties, "$app_namespace", columns.app_id)
    screen = found.get(SCREEN)
    if screen:
        _set(properties, "$screen_name", screen.get("name"))


def describe_screen_view(properties: Properties, data: Data) -> None:
    """Set the name of the screen that the event itself tells."""
    _set(properties, "$screen_name", data.get("name"))


def describe_library(columns: Columns, properties: Properties) -> None:
    """Set which tracker made the event."""
    properties.update(_library(columns.v_tracker))


@lru_cache(1024)
def _library(tracker: str) -> Properties:
    """What a tracker's name says; there are few of them, and each is taken apart once."""
    library, _, version = tracker.partition("-")
    if not library:
        return {}
    return {"$lib": f"snowplow-{library}"} | ({"$lib_version": version} if version else {})


def _describe_device(properties: Properties, mobile: Data, agent: Data | None) -> None:
    system = system_name(_text(mobile.get("osType")))
    model = _text(mobile.get("deviceModel"))
    _set(properties, "$os", system)
    _set(properties, "$os_version", system_version(system, _text(mobile.get("osVersion"))))
    _set(properties, "$device_model", model)
    _set(properties, "$device_manufacturer", mobile.get("deviceManufacturer"))
    _set(properties, "$device_type", _kind_of_device(system, mobile, agent))
    _set(properties, "$network_carrier", mobile.get("carrier"))
    network = mobile.get("networkType")
    if network in ("wifi", "mobile"):
        properties["$network_wifi"], properties["$network_cellular"] = network == "wifi", network == "mobile"


def _kind_of_device(system: str, mobile: Data, agent: Data | None) -> str:
    """Apple's devices by system and model; of Android's, only the user agent can tell a tablet from a phone."""
    kind = KIND_OF_APPLE_SYSTEM.get(_text(mobile.get("osType")).lower()) or TYPE_OF_SYSTEM.get(system)
    if kind:
        return kind
    if system == "Android":
        return (device_type(_text(agent.get("deviceClass"))) if agent else "") or "Mobile"
    return "Tablet" if _text(mobile.get("deviceModel")).startswith("iPad") else "Mobile"


def _set(properties: Properties, name: str, value: object) -> None:
    text = _text(value)
    if text:
        properties[name] = text


def _text(value: object) -> str:
    return str(value) if type(value) in {str, int} else ""
