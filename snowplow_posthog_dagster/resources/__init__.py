"""Dagster resources, thin: they hold configuration and hand out the objects of `loading/`.

s3.py        SnowplowS3Resource: the archive and the workspace
posthog.py   PostHogResource: the capture client, the pace, the target's identity
slack.py     AlertSlackResource
*_launcher   run launchers, named in dagster.yaml: pods with labels, processes that are watched
"""
