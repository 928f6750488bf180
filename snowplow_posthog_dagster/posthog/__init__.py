"""The target: batches and bodies of PostHog events, and the clients that talk to PostHog.

    compression.py   deflate runs that can be laid side by side
    batches.py       2,000 events compressed once, describing themselves
    bodies.py        one POST's gzip, joined from runs without inflating
    connections.py   a time-out for the head of an answer as a whole
    capture.py       one POST and what its answer means
    pacing.py        how many connections and events per second are allowed just now
    query.py         reading events back, for reconciliation

Nothing here knows S3 or Dagster.
"""
