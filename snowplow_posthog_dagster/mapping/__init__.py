"""Snowplow record -> PostHog event, as pure functions. Start at mapper.py; each rule has the module of its name."""
