"""A real S3 server on this machine, for the time of some tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "bucket"


@contextmanager
def run_s3_server() -> Iterator[None]:
    """Serve an empty bucket. Whoever looks for Amazon's S3 is led here, by what a user would set."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            boto3.client("s3").create_bucket(Bucket=BUCKET)
            yield
    finally:
        server.stop()


def put_object(key: str, data: bytes) -> None:
    """Store an object in the bucket."""
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=data)
