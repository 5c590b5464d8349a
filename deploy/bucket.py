"""Makes the bucket of a store unless it is there: ``python bucket.py s3://bucket/prefix``.

Amazon's own buckets outside us-east-1 need a place as well: make those by hand.
"""

import os
import sys

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session


def main(store: str) -> int:
    """Look for the bucket; make it if it is missing; say what else is wrong."""
    if not store.startswith("s3://"):
        return 0
    bucket = store.removeprefix("s3://").partition("/")[0]
    region = os.environ.get("AWS_REGION", "us-east-1")
    config = Config(s3={"addressing_style": "path"})
    try:
        client = Session().create_client("s3", region_name=region, config=config)
        try:
            client.head_bucket(Bucket=bucket)
        except ClientError as answer:
            if answer.response["Error"]["Code"] != "404":
                raise
            client.create_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        print(f"{store}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
