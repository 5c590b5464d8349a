"""A store in a bucket of an S3 object store: Amazon's, Ceph's, MinIO's and others.

Endpoint, region and credentials come from the usual environment and profile (``AWS_ENDPOINT_URL``,
``AWS_REGION``, ``AWS_PROFILE`` …), in each process anew: they are in no study, store or message.
Without credentials a bucket is read anonymously.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from obstore import exceptions as refusals
from obstore.store import S3Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from pipeline.errors import StoreError, StudyError, UnreachableError
from pipeline.place import Place

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, S3Config, S3Credential
    from zarr.abc.store import ByteRequest
    from zarr.abc.store import Store as ZarrStore

BRIEF_SECONDS = 10.0
"""How long a server that does not answer is tried before a run, and by verbs that only read."""

PATIENT_SECONDS = 120.0
"""And during a run."""

REQUEST_SECONDS = 60.0
PAUSE_SECONDS = 2.0
CREDENTIAL_LIFE = timedelta(minutes=5)

_URL = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9])/([^?#\s]+)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
OTHER_REFUSALS = {
    "QuotaExceeded": "the quota of the bucket, or of its owner, is used up{}",
    "RequestTimeTooSkewed": "the clock of this machine differs from the server's{}; set it right",
}
"""What servers refuse with the status 403 although the credentials are right."""
_USER = re.compile(r"//[^/@\s]*@")


def bucket_at(url: str, option: str = "") -> "Bucket":
    """The place that a URL names.

    Raises:
        StudyError: if it is none; credentials in it are refused, without repeating them.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise StudyError(
            f"{option}s3://…: credentials do not belong into a URL; set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    found = _URL.fullmatch(url.rstrip("/"))
    if not found or any(part in ("", ".", "..") for part in found[2].split("/")):
        raise StudyError(f"{option}{url}: not a place for a store; allowed: s3://bucket/prefix")
    return Bucket(found[1], found[2])


@dataclass(frozen=True)
class Bucket(Place):
    """A store below a prefix of a bucket.

    Attributes:
        bucket: the bucket's name.
        prefix: what all keys begin with.
        patience: for how many seconds a server that does not answer is tried again.
    """

    bucket: str
    prefix: str
    patience: float = BRIEF_SECONDS

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def __reduce__(self) -> tuple[Any, ...]:  # no open connection and no credential travels
        return Bucket, (self.bucket, self.prefix, self.patience)

    @property
    def address(self) -> str:
        """The URL."""
        return str(self)

    @property
    def name(self) -> str:
        """The last part of the prefix."""
        return self.prefix.rpartition("/")[2]

    @property
    def writable(self) -> bool:
        """Whether there are credentials to write with."""
        return _account().credentials is not None

    def child(self, key: str) -> "Bucket":
        """The prefix below."""
        return Bucket(self.bucket, f"{self.prefix}/{key}", self.patience)

    def patient(self) -> "Bucket":
        """The same place, for a run."""
        return replace(self, patience=PATIENT_SECONDS)

    @cached_property
    def objects(self) -> Any:
        """The objects below the prefix, as obstore sees them.

        Raises:
            StoreError: if the environment or the profile does not make sense.
        """
        return _open(self.bucket, self.prefix, self.patience)

    def exists(self) -> bool:
        """Whether there is any object below the prefix."""
        with contextlib.suppress(FileNotFoundError), self._told():
            return any(obstore.list(self.objects, chunk_size=1))
        return False

    def check_makeable(self) -> None:
        """See that there are credentials, and that the bucket answers.

        Raises:
            StoreError: if not.
        """
        if not self.writable:
            raise StoreError(
                f"{self}: no credentials to write with; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        try:
            with self._told():
                any(obstore.list(self.objects, chunk_size=1))
        except FileNotFoundError:
            raise self._no_bucket() from None

    def create(self, values: Mapping[str, bytes], root: str) -> None:
        """Make a store: its root first, on condition that there is none, then the rest.

        Objects cannot be moved into place together. The root says all that the rest says, so
        whoever opens the store after a crash in between mends it.

        Raises:
            StoreError: if it cannot be written.
        """
        try:
            with self._told():
                obstore.put(self.objects, root, values[root], mode="create")
        except FileExistsError:
            return
        for key, value in values.items():
            if key != root:
                self.write(key, value)

    def read(self, key: str) -> bytes | None:
        """An object's content, or None if there is none.

        Raises:
            StoreError: if it cannot be read, whoever is to blame.
        """
        with contextlib.suppress(FileNotFoundError), self._told():
            return bytes(obstore.get(self.objects, key).bytes())
        return None

    def write(self, key: str, value: bytes) -> None:
        """Write an object; a request that got no answer is made again, as it does no harm twice.

        Raises:
            StoreError: if it cannot be written.
        """
        start = time.monotonic()
        while True:
            try:
                with self._told():
                    obstore.put(self.objects, key, value, use_multipart=False)
            except UnreachableError:
                if time.monotonic() - start > self.patience:
                    raise
                time.sleep(PAUSE_SECONDS)
            except FileNotFoundError:
                raise self._no_bucket() from None
            else:
                return

    def remove(self, key: str) -> None:
        """Remove an object if it is there."""
        with contextlib.suppress(StoreError), self._told():
            obstore.delete(self.objects, key)

    def clear(self) -> None:
        """Remove every object below the prefix."""
        for key in self.keys(""):
            self.remove(key)

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        with contextlib.suppress(FileNotFoundError), self._told():
            obstore.head(self.objects, key)
            return True
        return False

    def keys(self, prefix: str) -> frozenset[str]:
        """The objects below a prefix."""
        with self._told():
            pages = obstore.list(self.objects, prefix=prefix)
            return frozenset(str(found["path"]) for page in pages for found in page)

    def zarr_store(self, *, read_only: bool) -> "ZarrStore":
        """The objects as Zarr sees them."""
        return BucketStore(self, read_only=read_only)

    def leftovers(self) -> frozenset[str]:
        """Nothing: an object is there whole or not at all."""
        return frozenset()

    def remove_leftovers(self, found: frozenset[str]) -> None:
        """Nothing to do."""

    def _no_bucket(self) -> StoreError:
        return StoreError(f"{self}: there is no bucket '{self.bucket}'; make it first")

    def _refusal(self, answer: str) -> str:
        """Why the server has refused; a request for an object's head alone is told no code."""
        found = _CODE.search(answer)
        code = found[1] if found else ""
        who = "these credentials" if self.writable else "anonymous access"
        usual = (
            f"{who} may not do this there{{}}; see AWS_PROFILE, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and the bucket's policy"
        )
        return OTHER_REFUSALS.get(code, usual).format(f" ({code})" if code else "")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say in the user's terms what obstore says; what is missing stays a FileNotFoundError."""
        try:
            yield
        except (
            refusals.PermissionDeniedError,
            refusals.UnauthenticatedError,
            PermissionError,
        ) as error:
            raise StoreError(f"{self}: {self._refusal(str(error))}") from None
        except refusals.AlreadyExistsError:
            raise FileExistsError(str(self)) from None
        except refusals.BaseError as error:
            if "NoSuchBucket" in str(error):  # how a list of a bucket that is missing is refused
                raise FileNotFoundError(str(self)) from None
            if "403 Forbidden" in str(error):  # and one that is not allowed
                raise StoreError(f"{self}: {self._refusal(str(error))}") from None
            reason = _USER.sub("//", " ".join(str(error).split()))[:200]
            raise UnreachableError(
                f"{self}: {_account().where} does not answer as it should: {reason}"
            ) from None


class BucketStore(ObjectStore[S3Store]):
    """Zarr's view of a bucket."""

    def __init__(self, place: Bucket, *, read_only: bool = False) -> None:
        super().__init__(place.objects, read_only=read_only)
        self._place = place

    def with_read_only(self, read_only: bool = False) -> "BucketStore":
        """The same store, for reading only or not."""
        return BucketStore(self._place, read_only=read_only)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: "ByteRequest | None" = None
    ) -> Buffer | None:
        """Read a value, or None if there is none."""
        with self._place._told():
            return await super().get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        """Whether there is a value."""
        with self._place._told():
            return await super().exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a value."""
        self._check_writable()
        await asyncio.to_thread(self._place.write, key, value.to_bytes())

    async def delete(self, key: str) -> None:
        """Remove a value if it is there."""
        with self._place._told():
            await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove all values below a prefix."""
        with self._place._told():
            await super().delete_dir(prefix)

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """The keys and prefixes directly below a prefix."""
        with self._place._told():
            async for name in super().list_dir(prefix):
                yield name

    async def _list(self, prefix: str | None = None) -> "AsyncGenerator[ObjectMeta, None]":
        with self._place._told():  # what all other lists are made of
            async for found in super()._list(prefix):
                yield found


@dataclass(frozen=True)
class _Account:
    """What the environment and the profile say of the object store.

    Attributes:
        credentials: what gives credentials, renewed as they expire; None without any.
        endpoint: the address of the server, or "" for Amazon's.
        region: its region.
        authorities: certificates of private authorities, as PEM; empty without any.
    """

    credentials: Any
    endpoint: str
    region: str
    authorities: bytes

    @property
    def where(self) -> str:
        """The server as messages name it; what an address may say of a user is left out."""
        host = self.endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return f"the object store at {host}" if host else "Amazon S3"


@lru_cache(maxsize=1)
def _account() -> _Account:
    """Look everything up as Amazon's own tools do.

    Raises:
        StoreError: if the environment or the profile does not make sense.
    """
    session = Session()
    try:
        found = session.get_credentials()
        endpoint = ConfiguredEndpointProvider(
            session.full_config, session.get_scoped_config(), client_name="s3"
        ).provide()
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
        bundle = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        authorities = Path(bundle).read_bytes() if bundle else b""
    except (BotoCoreError, OSError) as error:
        raise StoreError(f"the settings of the object store make no sense: {error}") from None
    return _Account(
        found and partial(_credential, found), endpoint or "", region or "us-east-1", authorities
    )


def _credential(found: Any) -> "S3Credential":
    """Credentials for some minutes; botocore renews what expires."""
    now = found.get_frozen_credentials()
    return {
        "access_key_id": now.access_key,
        "secret_access_key": now.secret_key,
        "token": now.token,
        "expires_at": datetime.now(UTC) + CREDENTIAL_LIFE,
    }


def _open(bucket: str, prefix: str, patience: float) -> S3Store:
    """The objects below a prefix.

    Raises:
        StoreError: if the environment or the profile does not make sense.
    """
    account = _account()
    config: S3Config = {"region": account.region}
    if account.endpoint:
        config["endpoint"] = account.endpoint
    if account.credentials is None:
        config["skip_signature"] = True
    options: ClientConfig = {
        "allow_http": account.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=5),
        "timeout": timedelta(seconds=REQUEST_SECONDS),
    }
    if account.authorities:
        options["root_certificate"] = account.authorities
    try:
        return S3Store(
            bucket,
            prefix=prefix,
            config=config,
            client_options=options,
            retry_config={
                "max_retries": 1000,
                "retry_timeout": timedelta(seconds=patience),
                "backoff": {"max_backoff": timedelta(seconds=PAUSE_SECONDS)},
            },
            credential_provider=account.credentials,
        )
    except ValueError as error:
        raise StoreError(f"the settings of the object store make no sense: {error}") from None
