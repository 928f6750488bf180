"""What is generated: how much, of which kind, with which faults, and where it lies."""

import datetime as dt
import re
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Profile(StrEnum):
    """Which company's events these resemble."""

    GITLAB = "gitlab"  # about 1.2 KB: three in four from the backend, few columns, one entity
    WIDE = "wide"  # about 3.3 KB: 70 filled columns, three to five entities


class Naming(StrEnum):
    """Who wrote the objects, which shows in their names."""

    FIREHOSE = "firehose"  # SnowPlowEnrichedGood-2-2022-06-06-04-29-38-<uuid>.gz, time of the oldest record
    S3_LOADER = "s3_loader"  # 2022-06-06-042938-<uuid>.gz, version 3, time of writing
    S3_LOADER_2 = "s3_loader_2"  # 2022-06-06-042938-<first>-<last sequence number>.gz, versions 1 and 2


# The parts of a layout, as Snowplow's S3 Loader names them, with strftime's spelling.
LAYOUT_PARTS = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "mm": "%m", "dd": "%d", "HH": "%H"}


class Mix(BaseModel):
    """Relative number of visits of each kind; a visit has 2 to 30 events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    web: float = Field(default=0, ge=0)
    shop: float = Field(default=0, ge=0)
    mobile: float = Field(default=0, ge=0)
    server: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.web + self.shop + self.mobile + self.server <= 0:
            raise ValueError("at least one kind of visit needs a share above 0")
        return self


MIXES = {
    Profile.GITLAB: Mix(web=12, server=88),
    Profile.WIDE: Mix(web=60, shop=22, mobile=10, server=8),
}


class GeneratorSettings(BaseModel):
    """One archive to be made; the same settings give the same records, byte for byte.

    The compressed bytes are the same on the same kind of processor: isal's deflate picks its instructions by CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: dt.datetime = Field(description="the first hour of arrival, UTC")
    hours: int = Field(default=1, ge=1, le=24 * 366, description="1 for an hour, 24 for a day, 720 for a month")
    events: int = Field(default=100_000, ge=1, description="new events in all; repeats come on top")
    records_per_object: int = Field(default=2_000, ge=1)
    profile: Profile = Profile.GITLAB
    mix: Mix | None = Field(default=None, description="overrides the profile's own mix")
    seed: int = 1

    repeats: float = Field(default=0.005, ge=0, le=0.5, description="share of records that come a second time")
    late: float = Field(default=0.01, ge=0, le=1, description="share sent hours to days after they happened")
    broken: float = Field(default=0.001, ge=0, le=1, description="share that no parser can accept")
    oversized: float = Field(default=0, ge=0, le=1, description="share of 1.2 MB, above what PostHog takes")

    users: int = Field(default=20_000, ge=1)
    pages: int = Field(default=2_000, ge=1)
    user_agents: int = Field(default=500, ge=1)

    prefix: str = "output/"
    layout: str = Field(default="{yyyy}/{MM}/{dd}/{HH}/", description="folders below the prefix; empty for none")
    naming: Naming = Naming.FIREHOSE
    app_id: str = "gitlab"
    tag: str = Field(default="", description="put into etl_tags, so that a test finds its own events again")

    @field_validator("start")
    @classmethod
    def _whole_hour_utc(cls, value: dt.datetime) -> dt.datetime:
        value = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
        if value != value.replace(minute=0, second=0, microsecond=0):
            raise ValueError("the start must be a whole hour")
        if not 1970 <= value.year < 9999:
            raise ValueError("the start must lie between 1970 and 9998")
        return value

    @field_validator("app_id", "tag")
    @classmethod
    def _one_column(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("must not hold tabs, newlines or other characters that cannot be printed")
        return value

    @field_validator("layout")
    @classmethod
    def _known_parts(cls, value: str) -> str:
        unknown = set(re.findall(r"\{([^{}]*)\}", value)) - set(LAYOUT_PARTS)
        if unknown:
            raise ValueError(f"unknown {sorted(unknown)}; known are {sorted(LAYOUT_PARTS)}")
        if value.startswith("/") or ".." in value.split("/"):
            raise ValueError("lies below its place: it begins without a slash and goes nowhere by '..'")
        return value

    @model_validator(mode="after")
    def _one_fate_each(self) -> Self:
        if self.late + self.broken + self.oversized > 1:
            raise ValueError("late, broken and oversized are shares of the same events: together at most 1")
        return self

    @property
    def visits(self) -> Mix:
        """The mix that holds."""
        return self.mix or MIXES[self.profile]

    @property
    def wide(self) -> bool:
        """Whether lines fill as many columns and entities as a rich tracking set-up does."""
        return self.profile is Profile.WIDE
