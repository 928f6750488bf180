"""What the work costs: CPU time and memory from archive to acknowledged, beside other ways of doing it.

    place.py      bucket and day of the archives
    workload.py   generated archives, made once and kept under build/
    servers.py    S3 and null servers, and what a process under measurement gets to know of them
    load.py       one load in a process of its own: CPU by phase, memory
    steps.py      the transform's steps, one added after the other
    peers.py      the same files the way of Snowplow's Python SDK, of zlib, and of posthog-python
    memory.py     resident memory of a worker over the size of its object
    days.py       a day of many tiny objects, a day of few huge ones
    bench.py      all of it: the table and build/bench.json

CPU time (user and system) of our own processes is what counts: servers are other processes, and wall time on shared
cores says little. Every ratio is of two measurements of the same run.
"""
