"""Posting the outbox: what Slack takes leaves it, what Slack refuses waits longer each time."""

import logging

from slack_sdk.errors import SlackApiError, SlackClientError

from snowplow_posthog_dagster.automation.alert_memory import AlertMemory, Message
from snowplow_posthog_dagster.resources.slack import AlertSlackResource

_FIRST_DELAY_SECONDS = 20.0
_LONGEST_DELAY_SECONDS = 3600.0
_UNKNOWN_CHANNEL = {"channel_not_found", "not_in_channel", "is_archived"}
_log = logging.getLogger(__name__)


def post_outbox(memory: AlertMemory, slack: AlertSlackResource, now: float) -> int:
    """Post what is due; returns how many messages Slack took.

    The first time that Slack cannot be reached ends the attempt, so that a tick is never held up for long.
    """
    client, sent = slack.get_client(), 0
    for message in list(memory.outbox):
        if message.not_before > now:
            continue
        try:
            client.chat_postMessage(channel=message.channel, text=message.text, unfurl_links=False)
        except SlackApiError as error:
            _refused(message, error, now)
            if _status(error) == 429:
                _hold_all(memory, message.not_before)
                break
        except (SlackClientError, OSError) as error:
            _delay(message, now, f"Slack cannot be reached: {error}")
            break
        except Exception as error:  # noqa: BLE001 - an answer that is none: its client raises what its parts raise
            # Without the error's words: an HTTP library quotes what it could not send.
            _delay(message, now, f"Slack cannot be spoken to: {type(error).__name__}")
            break
        else:
            memory.outbox.remove(message)
            sent += 1
    return sent


def _refused(message: Message, error: SlackApiError, now: float) -> None:
    answer = error.response
    reason = str(answer.get("error", "")) if answer is not None else ""
    if _status(error) == 429:
        wait = _seconds(answer.headers.get("Retry-After"))
        message.not_before = now + wait
        _log.warning("Slack asks to wait %.0f s", wait)
    elif reason in _UNKNOWN_CHANNEL and message.fallback not in {"", message.channel}:
        message.text = f"(for {message.channel}: {reason}) {message.text}"
        message.channel = message.fallback
        message.not_before = now
    else:
        _delay(message, now, f"Slack refused the message: {reason or error}")


def _delay(message: Message, now: float, why: str) -> None:
    message.not_before = now + min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2**message.tries)
    message.tries += 1
    _log.warning("%s; %s is told again in %.0f s", why, message.channel, message.not_before - now)


def _hold_all(memory: AlertMemory, until: float) -> None:
    for message in memory.outbox:
        message.not_before = max(message.not_before, until)


def _seconds(retry_after: str | None) -> float:
    """What Slack asks to wait; Slack counts in seconds, and what a proxy says instead is not followed."""
    text = (retry_after or "").strip()
    return float(text) if text.isdecimal() else _FIRST_DELAY_SECONDS


def _status(error: SlackApiError) -> int:
    return int(getattr(error.response, "status_code", 0) or 0)
