"""Apps: screen, version, device and network from the entities of Snowplow's mobile trackers; and the tracker."""

from collections.abc import Mapping

from snowplow_posthog_dagster.mapping.identity import Found
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Data
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.vocabulary import system_name, system_version

RULES = (
    Rule("$screen_name", "screen_view.name, else screen.name", "The event's own data before the entity."),
    Rule("$os, $os_version", "mobile_context.osType, osVersion", "Before any source of browser.py."),
    Rule("$device_model, $device_manufacturer", "mobile_context.deviceModel, deviceManufacturer", "As they are."),
    Rule("$device_type", "mobile_context", "`Mobile`, or `Tablet` for an iPad."),
    Rule("$network_carrier", "mobile_context.carrier", "As it is."),
    Rule("$network_wifi, $network_cellular", "mobile_context.networkType", "True or false when it is wifi or mobile."),
    Rule("$app_version, $app_build", "application.version, build", "As they are."),
    Rule("$app_name, $app_namespace", "app_id, on events with the application entity", "The id of the app."),
    Rule("$lib, $lib_version", "v_tracker", "`js-3.23.0` becomes `snowplow-js` and `3.23.0`."),
)

MOBILE = "com.snowplowanalytics.snowplow/mobile_context"
APPLICATION = "com.snowplowanalytics.mobile/application"
SCREEN = "com.snowplowanalytics.mobile/screen"


def describe_app(properties: Properties, found: Found) -> None:
    """Set what the entities of an app say."""
    mobile = found.get(MOBILE)
    if mobile:
        _describe_device(properties, mobile)
    application = found.get(APPLICATION)
    if application:
        properties.app_version = _text(application, "version")
        properties.app_build = _text(application, "build")
        properties.app_name = properties.app_namespace = properties.app_id
    screen = found.get(SCREEN)
    if screen:
        properties.screen_name = _text(screen, "name")


def describe_screen_view(properties: Properties, data: Data) -> None:
    """Set the name of the screen that the event itself tells."""
    properties.screen_name = _text(data, "name") or properties.screen_name


def describe_library(properties: Properties) -> None:
    """Set which tracker made the event."""
    library, _, version = properties.v_tracker.partition("-")
    if library:
        properties.lib, properties.lib_version = f"snowplow-{library}", version


def _describe_device(properties: Properties, mobile: Data) -> None:
    properties.os = system_name(_text(mobile, "osType"))
    properties.os_version = system_version(properties.os, _text(mobile, "osVersion"))
    properties.device_model = _text(mobile, "deviceModel")
    properties.device_manufacturer = _text(mobile, "deviceManufacturer")
    properties.device_type = "Tablet" if properties.device_model.startswith("iPad") else "Mobile"
    properties.network_carrier = _text(mobile, "carrier")
    network = _text(mobile, "networkType")
    if network in {"wifi", "mobile"}:
        properties.network_wifi, properties.network_cellular = network == "wifi", network == "mobile"


def _text(data: Mapping[str, object], field: str) -> str:
    value = data.get(field)
    return str(value) if type(value) in {str, int} else ""
