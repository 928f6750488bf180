"""Everything that visits draw from: places, browsers, pages, users. Made once per run, from the seed alone."""

from bisect import bisect
from hashlib import blake2b
from itertools import accumulate
from random import Random
from typing import NamedTuple

from snowplow_posthog_dagster.generator.browsers import Browser, browsers
from snowplow_posthog_dagster.generator.pages import Campaign, Page, Referrer, campaigns, pages, referrers
from snowplow_posthog_dagster.generator.settings import GeneratorSettings
from snowplow_posthog_dagster.generator.vocabulary import PLACES, PROVIDERS, Place

SECONDS_OFF = 3_000
HOURS_OFF = 18_000_000


class User(NamedTuple):
    """One person or machine, the same in every visit."""

    number: int
    device_id: str  # domain_userid on the web, client_session.userId in an app
    network_id: str
    pseudonym: str  # 64 hexadecimal digits, as a company hashes its user ids
    signed_in: bool
    address: str
    place: Place
    browser: Browser


class Visit(NamedTuple):
    """Who comes, and in which session."""

    kind: str  # web, shop, mobile or server
    user: User
    session_id: str
    session_number: int
    clock_error: int  # milliseconds by which the device's clock is ahead


class World:
    """The pools of one run; reading them changes nothing, so hours can be made in any order."""

    def __init__(self, settings: GeneratorSettings) -> None:
        random = Random(f"world {settings.seed}")
        self.settings = settings
        shares = {kind: share for kind, share in settings.visits if share > 0}
        self.kinds = list(shares)
        self.limits = list(accumulate(shares.values()))
        self.browsers: list[Browser] = browsers(random, settings.user_agents, wide=settings.wide)
        self.pages: list[Page] = pages(
            random, settings.pages, "www.shop.example" if settings.wide else "gitlab.example"
        )
        self.referrers: list[Referrer] = referrers()
        self.campaigns: list[Campaign] = campaigns()

    def user(self, number: int) -> User:
        """The user of that number: a digest decides who it is, so that none has to be kept."""
        digest = blake2b(f"{self.settings.seed} {number}".encode(), digest_size=64).digest()
        network = 20 + digest[33] % 180
        return User(
            number=number,
            device_id=uuid_text(int.from_bytes(digest[:16], "big")),
            network_id=uuid_text(int.from_bytes(digest[16:32], "big")),
            pseudonym=digest[:32].hex(),
            signed_in=digest[32] % 3 == 0,
            address=f"{network}.{digest[34]}.{digest[35]}.{1 + digest[36] % 254}",
            place=PLACES[digest[37] % len(PLACES)],
            browser=self.browsers[int.from_bytes(digest[40:44], "big") % len(self.browsers)],
        )

    def visit(self, random: Random) -> Visit:
        """A new visit; few users come often, most seldom. One device in fifty has a clock that is hours off."""
        number = int(random.random() ** 2 * self.settings.users)
        kind = self.kinds[bisect(self.limits, random.random() * self.limits[-1])]
        off = 0 if kind == "server" else HOURS_OFF if number % 50 == 7 else SECONDS_OFF
        return Visit(
            kind=kind,
            user=self.user(number),
            session_id=uuid_text(random.getrandbits(128)),
            session_number=1 + int(random.random() * 40),
            clock_error=int((number % 11 - 5) / 5 * off),
        )

    def provider(self, user: User) -> tuple[str, str, str, str]:
        """The user's internet provider: ip_isp, ip_organization, ip_domain, ip_netspeed."""
        return PROVIDERS[user.number % len(PROVIDERS)]


def uuid_text(bits: int) -> str:
    """A version 4 UUID with these random bits; three times as fast as uuid.UUID."""
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
