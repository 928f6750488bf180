"""The `mapping:` section of the settings file: everything that an operator can decide about the events.

Each setting is read once, when a `Mapper` is made, and becomes a function or a table; nothing here is looked at per
event. The defaults send the whole row under PostHog's names, drop what people typed into forms and the advertising
ids, and filter nothing. Names of columns and paths (paths.py) are checked here, so that a typing error stops the
loading of the code location instead of silently doing nothing.
"""

import datetime as dt
import re
import string
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from snowplow_posthog_dagster.mapping.paths import TEXT_COLUMNS, is_schema_name, parse_path
from snowplow_posthog_dagster.mapping.properties import KEPT_PROPERTIES, PROPERTY_NAMES, SENT_COLUMNS


def _path(text: str) -> str:
    parse_path(text)
    return text


def _schema_name(text: str) -> str:
    if not is_schema_name(text):
        raise ValueError(f"{text!r} is no schema; expected name or vendor/name, such as com.gitlab/gitlab_standard")
    return text


def _text_path(text: str) -> str:
    path = parse_path(text)
    if isinstance(path, str) and path not in TEXT_COLUMNS:
        raise ValueError(f"{text!r} is no text column; only text can be hashed or truncated")
    return text


def _unsent(name: str) -> str:
    if name in KEPT_PROPERTIES or name not in PROPERTY_NAMES.union(SENT_COLUMNS):
        raise ValueError(f"{name!r} is no column or property that may be left out")
    return name


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    return text


def template_fields(template: str) -> list[str]:
    """The names in braces of a template such as `{se_category}: {se_action}`.

    Raises:
        ValueError: the braces do not match, or hold more than a name.
    """
    fields = []
    for _, field, specification, conversion in string.Formatter().parse(template):
        if field is not None:
            if not field.isidentifier() or specification or conversion:
                raise ValueError(f"{template!r} is no template; expected names in braces, such as {{se_action}}")
            fields.append(field)
    return fields


def _struct_template(template: str) -> str:
    fields = template_fields(template)
    unknown = set(fields) - {"se_category", "se_action", "se_label", "se_property"}
    if unknown or not fields:
        raise ValueError(
            f"{template!r}: expected one or more of se_category, se_action, se_label, se_property in braces"
        )
    return template


def _data_template(template: str) -> str:
    template_fields(template)
    if not template.strip():
        raise ValueError("a name of an event must not be empty")
    return template


Path = Annotated[str, AfterValidator(_path)]
SchemaName = Annotated[str, AfterValidator(_schema_name)]
TextPath = Annotated[str, AfterValidator(_text_path)]
Unsent = Annotated[str, AfterValidator(_unsent)]
Pattern = Annotated[str, AfterValidator(_pattern)]
RuleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]

RESERVED_RULES = frozenset({"page_ping", "sample", "forgotten"})
"""Names under which the built-in filters count."""


class Section(BaseModel):
    """A part of the settings; an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EventSettings(Section):
    """Names of events (names.py)."""

    struct: Annotated[str, AfterValidator(_struct_template)] = "{se_action}"
    """Template over se_category, se_action, se_label and se_property for structured events."""
    page_ping: Literal["keep", "drop"] = "keep"
    """Page pings are often most of the volume; `drop` counts them as filtered under `page_ping`."""
    self_describing: dict[SchemaName, Annotated[str, AfterValidator(_data_template)]] = {}
    """Schema `name` or `vendor/name` -> template over the top-level fields of the data, such as `ecommerce:{type}`."""


class PersonProperties(Section):
    """`$set` and `$set_once`: properties of the person, an allow-list that is empty by default."""

    set: dict[str, Path] = {}
    """Name of the person property -> where its value lies; the last event to arrive wins."""
    set_once: dict[str, Path] = {}
    """The same; the first event to arrive wins."""
    since: dt.date | None = None
    """Only events of this UTC day or later carry them: PostHog applies them in the order of arrival, so history
    would overwrite what is known today."""
    force_history: bool = False
    """Let history overwrite current person properties after all."""

    @model_validator(mode="after")
    def _history_is_refused(self) -> "PersonProperties":
        if (self.set or self.set_once) and self.since is None and not self.force_history:
            raise ValueError(
                "person properties of history overwrite current ones: set `since` to the first day that may "
                "carry them, or `force_history: true`"
            )
        return self


class IdentitySettings(Section):
    """Who did it (identity.py)."""

    distinct_id: Annotated[tuple[Path, ...], Field(min_length=1)] = (
        "user_id",
        "domain_userid",
        "client_session.userId",
        "network_userid",
    )
    """The first legal of these is the distinct_id."""
    identified_by: tuple[Path, ...] = ("user_id",)
    """Those of `distinct_id` that stand for a known person."""
    person_profiles: Literal["never", "identified_only", "always"] = "identified_only"
    """Whose events make a person in PostHog; events without are up to four times cheaper."""
    illegal_ids: tuple[str, ...] = ()
    """Further texts that are no id, beside PostHog's own list; compared in lower case."""
    duplicates: Literal["keep_one", "keep_all"] = "keep_one"
    """Records of one event_id with different content: PostHog keeps one, or each becomes an event of its own."""
    person_properties: PersonProperties = PersonProperties()

    @model_validator(mode="after")
    def _identified_ids_are_in_the_chain(self) -> "IdentitySettings":
        unknown = set(self.identified_by) - set(self.distinct_id)
        # The default is allowed to stay when the chain is changed.
        if unknown and self.identified_by != IdentitySettings.model_fields["identified_by"].default:
            raise ValueError(f"identified_by names {sorted(unknown)}, which distinct_id does not")
        return self


class StripQueryParameters(Section):
    """Query parameters to take out of URLs, their fragments included, and of query strings."""

    names: tuple[str, ...] = ()
    """Names, compared in lower case; `*` means all but campaign parameters and click ids."""
    within: tuple[TextPath, ...] = (
        "page_url",
        "page_urlquery",
        "page_urlfragment",
        "page_referrer",
        "refr_urlquery",
        "refr_urlfragment",
        "link_click.targetUrl",
        "deep_link_received.url",
        "deep_link_received.referrer",
        "deep_link.url",
        "deep_link.referrer",
    )
    """Columns and paths of URLs; where the last name has `query` or `fragment` in it, of these alone."""


class PrivacySettings(Section):
    """What must not leave as it is (privacy.py). Applied before any other rule reads the record."""

    preset: Literal["none", "strict"] = "none"
    """`strict` is for a project that must not hold personal data in the clear, see above."""
    drop: tuple[Path, ...] = ()
    """Left out before any other rule sees it."""
    hash: tuple[TextPath, ...] = ()
    """Replaced by HMAC-SHA256 in hex, keyed by SNOWPLOW_POSTHOG_PRIVACY_SECRET; equal values stay equal."""
    truncate: dict[TextPath, Literal["ip"] | Annotated[int, Field(ge=1)]] = {}
    """`ip` cuts addresses to /24 or /48; a number keeps that many characters."""
    strip_query_parameters: StripQueryParameters = StripQueryParameters()
    keep: tuple[Path, ...] = ()
    """Takes single fields out of what the defaults and the preset drop, hash or strip."""


class Condition(Section):
    """What a filter looks for. All parts that are given must hold."""

    app_id: tuple[str, ...] = ()
    """Any of these."""
    platform: tuple[str, ...] = ()
    """Any of these."""
    event: tuple[str, ...] = ()
    """Names of events as PostHog gets them, such as `$pageview`."""
    bot: tuple[Literal["iab", "yauaa", "useragent"], ...] = ()
    """Holds when one of these calls it a bot: the IAB entity, YAUAA's robot classes, words in the user agent."""
    host: tuple[Literal["localhost", "staging"], ...] = ()
    """Holds when page_urlhost is of this machine, or has `staging`, `stage` or `stg` as a part of its name."""
    matches: dict[Path, Pattern] = {}
    """Column or path -> regular expression, searched in the value as text, in each one where entities or lists hold
    several; a missing value is empty text."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> "Condition":
        if not any((self.app_id, self.platform, self.event, self.bot, self.host, self.matches)):
            raise ValueError("a condition needs one of app_id, platform, event, bot, host, matches")
        return self


class FilterRule(Section):
    """A filter: records that `drop` describes, or that `keep` does not, are counted under `name` and not sent."""

    name: RuleName
    """Under which records are counted."""
    drop: Condition | None = None
    keep: Condition | None = None

    @model_validator(mode="after")
    def _has_one_condition(self) -> "FilterRule":
        if (self.drop is None) == (self.keep is None):
            raise ValueError(f"filter {self.name!r} needs either drop or keep")
        if self.name in RESERVED_RULES:
            raise ValueError(f"filter name {self.name!r} is taken by a built-in rule")
        return self


class Sample(Section):
    """A part of the users with all their events, the same users on every day."""

    percent: Annotated[float, Field(gt=0, le=100)] = 100.0
    """Percent of the users, by a hash of the distinct_id."""
    salt: str = ""
    """Another salt draws other users."""


class EntityRule(Section):
    """What happens to the entities, or the self-describing data, of one schema."""

    carry: Literal["keep", "drop", "flatten"] = "keep"
    """`flatten` gives each field a property of its own; `drop` leaves it out, yet groups and features still read it."""
    prefix: str = Field("", pattern=r"^[A-Za-z0-9_]*$")
    """Put before the names of flattened fields; the schema's name when empty."""
    fields: tuple[str, ...] | None = None
    """Allow-list of top-level fields; all of them when it is not set."""
    groups: dict[str, str] = {}
    """PostHog group type -> top-level field that holds the group's key."""
    features: dict[str, str] = {}
    """Top-level field that names an experiment -> top-level field with its variant, for `$feature/<name>`."""


class EntitySettings(Section):
    """Entities and self-describing data (entities.py)."""

    default: Literal["keep", "drop"] | None = None
    """For schemas without a rule: kept, but under the preset `strict` dropped and counted."""
    rules: dict[SchemaName, EntityRule] = {}
    """Schema `name` or `vendor/name` -> rule."""


class PropertySettings(Section):
    """Which columns become properties (properties.py)."""

    drop: tuple[Unsent, ...] = ()
    """Columns or properties that are not sent. Unlike under privacy, other rules still read them: this saves bytes."""
    parse_user_agent: bool = True
    """Find browser, system and device in the user agent when no entity and no column names them."""


class MappingSettings(Section):
    """The `mapping:` section."""

    events: EventSettings = EventSettings()
    identity: IdentitySettings = IdentitySettings()
    geo: Literal["snowplow", "posthog", "none"] = "snowplow"
    """Whose location an event carries: Snowplow's geo columns, PostHog's lookup of a public `$ip`, or nobody's."""
    privacy: PrivacySettings = PrivacySettings()
    filters: tuple[FilterRule, ...] = ()
    sample: Sample = Sample()
    entities: EntitySettings = EntitySettings()
    properties: PropertySettings = PropertySettings()

    @model_validator(mode="after")
    def _posthog_has_what_it_locates_by(self) -> "MappingSettings":
        if self.geo == "posthog" and {"$ip", "user_ipaddress"} & set(self.properties.drop):
            raise ValueError(
                "geo: posthog locates events by `$ip`, which properties.drop leaves out: PostHog would put everybody "
                "where the loader runs; choose geo: snowplow or geo: none, or send `$ip`"
            )
        return self

    @model_validator(mode="after")
    def _names_of_filters_are_unique(self) -> "MappingSettings":
        names = [rule.name for rule in self.filters]
        if len(set(names)) < len(names):
            raise ValueError("two filters have one name; records are counted by it")
        return self
