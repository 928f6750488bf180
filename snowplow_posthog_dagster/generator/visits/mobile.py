"""An app on a phone: it comes to the front, screens follow each other, it goes to the back."""

from collections.abc import Iterator
from random import Random

from snowplow_posthog_dagster.generator import line
from snowplow_posthog_dagster.generator.line import INDEX, Event
from snowplow_posthog_dagster.generator.visits.shared import SNOWPLOW, Journey, person_row, pick
from snowplow_posthog_dagster.generator.vocabulary import SCREENS
from snowplow_posthog_dagster.generator.world import Visit, World, uuid_text

_SCREEN_VIEW = b"com.snowplowanalytics.mobile/screen_view/jsonschema/1-0-0"


_SCREEN_VIEW_CELLS = line.schema_cells("com.snowplowanalytics.mobile", "screen_view", "1-0-0")


def mobile(world: World, random: Random, visit: Visit) -> Journey:
    """Screens looked at in an app; the session is in an entity, not in the columns."""
    ios = visit.user.number % 2 == 0
    row = person_row(world, visit, b"mob", b"ios-3.2.0" if ios else b"andr-3.2.0")
    row[INDEX["useragent"]] = (
        b"Shop/5.2 CFNetwork/1333.0.4 Darwin/21.5.0" if ios else b"Dalvik/2.1.0 (Linux; U; Android 12)"
    )
    row[INDEX["br_lang"]] = visit.user.place.language.encode()
    row[INDEX["br_viewwidth"]] = row[INDEX["dvce_screenwidth"]] = b"1170" if ios else b"1080"
    row[INDEX["br_viewheight"]] = row[INDEX["dvce_screenheight"]] = b"2532" if ios else b"2400"
    row[INDEX["os_timezone"]] = visit.user.place.timezone.encode()
    row[INDEX["derived_contexts"]] = visit.user.browser.derived
    return Journey(visit, line.template(row), mobile_events(random, visit, ios=ios))


def device_entities(visit: Visit, *, ios: bool) -> bytes:
    """The entities of the phone and of the app."""
    system, version, maker, model = (
        ("ios", "15.5", "Apple Inc.", "iPhone14,5") if ios else ("android", "12", "samsung", "SM-G991B")
    )
    phone = (
        f'{{"osType":"{system}","osVersion":"{version}","deviceManufacturer":"{maker}","deviceModel":"{model}",'
        f'"carrier":"Example","networkType":"wifi","networkTechnology":"LTE","physicalMemory":6014042112,'
        f'"systemAvailableMemory":2109734912,"batteryLevel":{visit.user.number % 100},"batteryState":"unplugged"}}'
    )
    return b",".join(
        (
            line.entity(SNOWPLOW + b"mobile_context/jsonschema/1-0-3", phone.encode()),
            line.entity(
                b"com.snowplowanalytics.mobile/application/jsonschema/1-0-0", b'{"version":"5.2.1","build":"5210"}'
            ),
        )
    )


def mobile_events(random: Random, visit: Visit, *, ios: bool) -> Iterator[Event]:
    """The app comes to the front, screens follow each other, it goes to the back."""
    device = device_entities(visit, ios=ios)
    first = uuid_text(random.getrandbits(128))
    session = (
        f'{{"userId":"{visit.user.device_id}","sessionId":"{visit.session_id}","sessionIndex":{visit.session_number},'
        f'"previousSessionId":null,"firstEventId":"{first}","firstEventTimestamp":"2022-06-06T04:00:00.000Z",'
        f'"storageMechanism":"SQLITE","eventIndex":'
    ).encode()

    def entities(number: int) -> bytes:
        counted = line.entity(SNOWPLOW + b"client_session/jsonschema/1-0-2", session + b"%d}" % number)
        return line.contexts(counted, device)

    yield lifecycle("application_foreground", "foregroundIndex", entities(1))
    number, previous = 2, b"Launch"
    while random.random() < 0.88:
        screen = pick(random, SCREENS)
        data = b'{"id":"%b","name":"%b","previousName":"%b","type":"view","transitionType":"push"}'
        identity = uuid_text(random.getrandbits(128)).encode()
        action = line.unstruct(_SCREEN_VIEW, data % (identity, screen, previous))
        yield Event(b"unstruct", line.NO_PAGE, entities(number), action, _SCREEN_VIEW_CELLS)
        if random.random() < 0.4:
            number += 1
            tap = line.struct(b"app", b"tap", screen, b"", b"%.1f" % (random.random() * 10))
            yield Event(b"struct", line.NO_PAGE, entities(number), tap, line.STRUCT)
        number, previous = number + 1, screen
    yield lifecycle("application_background", "backgroundIndex", entities(number))


def lifecycle(name: str, index: str, entities: bytes) -> Event:
    """The app came to the front or went to the back."""
    schema = f"com.snowplowanalytics.snowplow/{name}/jsonschema/1-0-0".encode()
    action = line.unstruct(schema, f'{{"{index}":1}}'.encode())
    return Event(
        b"unstruct", line.NO_PAGE, entities, action, line.schema_cells("com.snowplowanalytics.snowplow", name, "1-0-0")
    )
