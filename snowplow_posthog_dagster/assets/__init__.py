"""What is materialized: three daily-partitioned assets between the archive and PostHog.

    snowplow_archive ──> snowplow_manifest ──> posthog_batches ──> posthog_events ──> posthog
    (external)           one day's objects     transform           deliver            (external)

Each asset is incremental within its partition: it does only what the day's listing and log do not show as
done. Materializing a done day again reads no archive object and sends nothing.
"""
