"""The archive, which is only read, and the workspace, which is only appended to.

s3.py            one bucket, with S3's errors in our words
archive.py       listing a day's archive objects, reading one
inflate.py       gzip by its bytes, in bounded memory
workspace.py     where everything that we store lies
entries.py       what a line of the day log can say
state.py         the union of the lines, and the sums that must add up
day_log.py       reading, writing and compacting the log of a day
leases.py        who works on a day just now
target.py        which PostHog project a target's name stands for
dead_letters.py  records that did not become events, and events that PostHog refused
"""
