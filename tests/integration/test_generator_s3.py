"""Generated objects in a real bucket."""

import datetime as dt

from snowplow_posthog_dagster.generator import FolderSink, GeneratorSettings, S3Sink, generate


def test_a_bucket_gets_what_a_folder_gets(s3_server, tmp_path):
    settings = GeneratorSettings(start=dt.datetime(2022, 6, 6, 4, tzinfo=dt.UTC), events=900, records_per_object=200)
    client = s3_server.client()
    client.create_bucket(Bucket="generated")
    truth = generate(settings, S3Sink(client, "generated"), tmp_path / "truth")
    generate(settings, FolderSink(tmp_path / "archive"), tmp_path / "same")
    listed = [one["Key"] for one in client.list_objects_v2(Bucket="generated")["Contents"]]
    assert sorted(listed) == sorted(one.key for one in truth.objects)
    for key in listed:
        stored = client.get_object(Bucket="generated", Key=key)["Body"].read()
        assert stored == (tmp_path / "archive" / key).read_bytes()
