"""The sandbox: an embedded S3, a stand-in for PostHog and sample data, all on loopback.

It serves the first run, development and tests; only the CLI and the tests import it. Both servers are
processes of their own that outlive the one that started them: `servers.Sandbox` starts and stops them.
"""
