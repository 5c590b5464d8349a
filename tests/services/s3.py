"""A real S3 store on loopback: Ceph's RADOS Gateway over one monitor and one disk daemon."""

import base64
import contextlib
import json
import secrets
import struct
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.services.guard import Daemons, service
from tests.services.ports import free_ports

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph")
REGION = "default"
CONFIGURATION = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:127.0.0.1:{monitor}]
public_network = 127.0.0.0/8
keyring = {folder}/keyring
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
log_file = {folder}/$name.log
admin_socket = {folder}/$name.asok
run_dir = {folder}
crash_dir = {folder}
[mon]
mon_data = {folder}/mon
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[osd]
osd_data = {folder}/osd
osd_objectstore = bluestore
bluestore_block_size = 4294967296
osd_memory_target = 939524096
[client.rgw]
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
rgw_thread_pool_size = 64
"""


class S3:
    """A running S3 store.

    Attributes:
        url: of its endpoint.
        key: of its user.
        secret: that goes with the key.
    """

    def __init__(self, daemons: Daemons, port: int) -> None:
        self._daemons = daemons
        self.url = f"http://127.0.0.1:{port}"
        self.key = secrets.token_hex(10)
        self.secret = secrets.token_hex(20)

    @property
    def anonymous(self) -> dict[str, str]:
        """What a client without a key has in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def environment(self) -> dict[str, str]:
        """What a client has in its environment."""
        return self.anonymous | {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    def client(self) -> Any:
        """A client of botocore with the key."""
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=Config(s3={"addressing_style": "path"}),
        )

    def make_bucket(self, *, public: bool = False) -> str:
        """Make a bucket, which everybody may read if it is public; its name."""
        name = f"bucket-{secrets.token_hex(4)}"
        client = self.client()
        client.create_bucket(Bucket=name)
        if public:
            rule = {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
            }
            policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
            client.put_bucket_policy(Bucket=name, Policy=policy)
        return name

    def objects(self, bucket: str, prefix: str = "") -> dict[str, tuple[str, Any]]:
        """The entity tag and the time of every object."""
        pages = (
            self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        )
        listed = (item for page in pages for item in page.get("Contents", ()))
        return {item["Key"]: (item["ETag"], item["LastModified"]) for item in listed}

    def download(self, bucket: str, prefix: str, target: Path) -> None:
        """Copy the objects below a prefix into a folder."""
        client = self.client()
        for key in self.objects(bucket, prefix):
            file = target / key.removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def start(self) -> None:
        """Start the gateway, and wait until it answers."""
        self._daemons.start("radosgw", "radosgw", *self._options, "-n", "client.rgw", "-f")
        self._daemons.wait_until(self._answers, "answering", seconds=120)

    def stop(self) -> None:
        """Stop the gateway: connections are refused; what is stored stays."""
        self._daemons.end("radosgw")

    @property
    def _options(self) -> tuple[str, str]:
        return "-c", str(self._daemons.folder / "ceph.conf")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=5):
            return True
        return False

    def make_user(self) -> None:
        """Make the user with the key."""
        self._daemons.do(
            "radosgw-admin", *self._options, "-n", "client.rgw", "user", "create", "--uid=test",
            "--display-name=test", f"--access-key={self.key}", f"--secret-key={self.secret}",
        )  # fmt: skip


@contextlib.contextmanager
def running_s3() -> Iterator[S3]:
    """Start an S3 store with one user, and end it."""
    with service("s3") as daemons:
        monitor, gateway = free_ports(2)
        _start_ceph(daemons, monitor, gateway)
        s3 = S3(daemons, gateway)
        s3.start()
        s3.make_user()
        yield s3


def _start_ceph(daemons: Daemons, monitor: int, gateway: int) -> None:
    """Make and start the monitor and the disk daemon."""
    folder = daemons.folder
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    fsid, disk = str(uuid.uuid4()), str(uuid.uuid4())
    _write_keys(folder / "keyring")
    file = folder / "ceph.conf"
    file.write_text(
        CONFIGURATION.format(fsid=fsid, folder=folder, monitor=monitor, gateway=gateway)
    )
    address = f"[v2:127.0.0.1:{monitor}]"
    daemons.do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, folder / "monmap")
    first = ("--mkfs", "--monmap", folder / "monmap", "--keyring", folder / "keyring")
    daemons.do("ceph-mon", "-c", file, "-i", "a", *first)
    daemons.start("mon", "ceph-mon", "-c", file, "-i", "a", "-f")
    daemons.do("ceph", "-c", file, "--connect-timeout", "30", "osd", "new", disk)
    daemons.do("ceph-osd", "-c", file, "-i", "0", "--mkfs", "--osd-uuid", disk)
    daemons.start("osd", "ceph-osd", "-c", file, "-i", "0", "-f")


def _write_keys(file: Path) -> None:
    """Write a keyring in which everybody may do everything."""
    lines = []
    for name in ("mon.", "osd.0", "client.admin", "client.rgw"):
        # Kind 1 (AES), made at second 0, length, bytes.
        key = struct.pack("<hiih", 1, 0, 0, 16) + secrets.token_bytes(16)
        lines += [f"[{name}]", f"key = {base64.b64encode(key).decode()}"]
        lines += [f'caps {part} = "allow *"' for part in ("mon", "osd", "mgr")]
    file.write_text("\n".join([*lines, ""]))
