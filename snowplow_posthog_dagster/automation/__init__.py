"""What starts by itself: the sensor that loads new files, the schedules, and the messages to Slack.

new_files.py       the S3 sensor: new archive objects -> a run of their day
archive_watch.py   what the archive has that the logs do not show as done, one slice per look
sensor_cursor.py   what the sensor remembers between ticks
flying.py          which runs of a day are queued or under way, and how the last ones ended
job.py             the job of all three assets
"""
