"""A day's load, without Dagster: what `assets/` and the CLI call.

    day.py        list, transform, deliver and close one day of one target
    transform.py  one archive object -> its batches: one plain function
    workers.py    the same on every core, a process each
    delivery.py   batches -> acknowledged, whatever PostHog answers
    sources.py    which source reads an archive entry
    reports.py    what a run says that it did

Between `storage/` and `posthog/`, which know nothing of each other's business, and `resources/`, which
only configures. Everything here can be called from a notebook.
"""
