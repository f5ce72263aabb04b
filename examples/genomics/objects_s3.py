"""Objects in S3, by boto3. Credentials are the role's that the backend gave the run.

The role needs ``s3:GetObject`` and ``s3:PutObject`` on the objects, and ``s3:ListBucket`` on the
bucket: without it S3 calls an object that is not there forbidden.
"""

from __future__ import annotations

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from examples.genomics.objects import ObjectsUnavailable

TRIES = 4
"""Of each request by the SDK, and of a conditional write that met another one under way."""


class S3Location:
    """A prefix in a bucket."""

    def __init__(self, bucket: str, prefix: str, region: str) -> None:
        """Reach the bucket from ``region``; of another cloud it names none of AWS's."""
        provider, _, code = region.partition(":")
        self._bucket = bucket
        self._prefix = prefix
        self._client = boto3.client(
            "s3",
            region_name=code if provider == "aws" else None,
            # Short: after SIGTERM there are seconds.
            config=Config(
                connect_timeout=2,
                read_timeout=4,
                retries={"mode": "standard", "total_max_attempts": TRIES},
            ),
        )

    def read(self, name: str) -> bytes | None:
        """An object's bytes; ``None`` where there is none."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            data: bytes = answer["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None
        except (BotoCoreError, ClientError) as error:
            raise ObjectsUnavailable(str(error)) from error
        return data

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=data)
        except (BotoCoreError, ClientError) as error:
            raise ObjectsUnavailable(str(error)) from error

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one, whole or not at all; whether there was none.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
        """
        for _ in range(TRIES):
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key(name), Body=data, IfNoneMatch="*"
                )
            except ClientError as error:
                match error.response["Error"]["Code"]:
                    case "PreconditionFailed":
                        return False
                    case "ConditionalRequestConflict":
                        continue  # another write was under way; its outcome is not told
                raise ObjectsUnavailable(str(error)) from error
            except BotoCoreError as error:
                raise ObjectsUnavailable(str(error)) from error
            else:
                return True
        raise ObjectsUnavailable(f"{name}: other writes were under way, {TRIES} times in a row")

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name
