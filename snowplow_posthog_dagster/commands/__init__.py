"""The commands of `snowplow-posthog`, a module each; `cli.py` puts them together.

They are the only part besides the tests that may use the sandbox.
"""
