"""The Slack resource: dagster-slack's, with an address that tests and proxies can set, and a time limit."""

from dagster_slack import SlackResource
from pydantic import Field
from slack_sdk import WebClient

TIMEOUT_SECONDS = 10


class AlertSlackResource(SlackResource):
    """Slack as `slack_on_failure` uses it. Without a token nothing is said."""

    token: str = Field("", description="A bot token with chat:write; use dg.EnvVar('SLACK_BOT_TOKEN')")
    base_url: str | None = Field(None, description="Another address of Slack's API, such as a proxy's")

    def get_client(self) -> WebClient:
        """A client that gives up on an answer after 10 s."""
        if self.base_url:
            return WebClient(self.token, base_url=self.base_url, timeout=TIMEOUT_SECONDS)
        return WebClient(self.token, timeout=TIMEOUT_SECONDS)
