"""`docker://HOST/REPO[:TAG|@DIGEST]`: a repository of a registry (distribution-spec 1.1).

Reading verifies every byte, also what a redirect leads to. Writing sends only what is not there: blobs that
the registry has in another repository are mounted; the others go up in parallel, then the manifests, each
after what it points to, and the tag last, so that it never names something incomplete.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, BinaryIO
from urllib.parse import quote, urljoin

import msgspec

from ramekin import workers
from ramekin.errors import (
    DigestMismatchError,
    FormatError,
    NetworkError,
    NotFoundError,
    RamekinError,
    UsageError,
)
from ramekin.http import Body, Client, HttpError, Response, is_loopback, origin
from ramekin.image import oci
from ramekin.image.image import DOCUMENT_LIMIT, Image
from ramekin.image.oci import Descriptor, Index
from ramekin.image.reference import Reference
from ramekin.image.transports.authorization import Authorization, repository_scope
from ramekin.image.transports.contents import Document, contents
from ramekin.image.transports.upload import Upload
from ramekin.progress import SILENT, Progress
from ramekin.store.digest import Digest
from ramekin.store.verify import verified

ACCEPT = ", ".join((oci.INDEX, oci.MANIFEST, oci.DOCKER_LIST, oci.DOCKER_MANIFEST))
PAGES = 100
"""How many pages of referrers are read at most."""

REFERRER_LOOKUPS = 64
"""For how many manifests of one index referrers are asked for."""

_known: dict[tuple[str, Digest], str] = {}
"""Repositories in which this process has seen or put a blob, by registry: where it can be mounted from."""

_known_lock = Lock()


class Repository:
    """One repository of one registry; implements `image.Blobs`. For use by many threads.

    `remote` says that its blobs are worth fetching side by side.
    """

    def __init__(self, client: Client, host: str, name: str, *, plain_http: bool = False) -> None:
        self.host = host
        self.name = name
        self._client = client
        self._plain_http = plain_http
        self._authorization = Authorization(client, host, name)
        self._lock = Lock()
        self._base = ""
        self.remote = True

    @property
    def shown(self) -> str:
        return f"docker://{self.host}/{self.name}"

    @property
    def base(self) -> str:
        """`https://HOST` or `http://HOST`.

        A registry on this machine is asked which one it speaks; all others are spoken to in https, or in
        http when that was allowed.
        """
        with self._lock:
            if not self._base:
                self._base = self._find_base()
            return self._base

    def _find_base(self) -> str:
        plain, safe = f"http://{self.host}", f"https://{self.host}"
        if self._plain_http:
            return plain
        if not is_loopback(plain):
            return safe
        try:
            # 400 is what TLS servers answer to plain requests
            with self._client.request("GET", f"{plain}/v2/", allow=range(401, 500), redirect=False):
                return plain
        except NetworkError as error:
            try:
                with self._client.request(
                    "GET", f"{safe}/v2/", allow=range(401, 500), retries=0, redirect=False
                ):
                    return safe
            except NetworkError as second:
                raise (second if "certificate" in second.message.lower() else error) from None

    def url(self, path: str) -> str:
        return f"{self.base}/v2/{self.name}/{path}"

    def pull(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = {},
        allow: tuple[int, ...] = (),
        scopes: tuple[str, ...] = (),
    ) -> Response:
        """Send a request that reads; `scopes` are what it needs if not the reading of this repository."""
        scopes = scopes or (repository_scope(self.name, "pull"),)
        return self._call(scopes, method, url, headers=headers, allow=allow)

    def push(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = {},
        body: Body = None,
        length: int | None = None,
        allow: tuple[int, ...] = (),
        retries: int | None = None,
        origin: str = "",
    ) -> Response:
        """Send a request that may write; `origin` is a repository whose blobs are read for it."""
        scopes = [repository_scope(self.name, "pull", "push")]
        if origin:
            scopes.append(repository_scope(origin, "pull"))
        return self._call(
            tuple(scopes),
            method,
            url,
            headers=headers,
            body=body,
            length=length,
            allow=allow,
            retries=retries,
        )

    def _call(
        self,
        scopes: tuple[str, ...],
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body = None,
        length: int | None = None,
        allow: tuple[int, ...] = (),
        retries: int | None = None,
    ) -> Response:
        # an upload's address may be on a host of its own, which is given no credentials
        ours = origin(url) == origin(self.base)
        # the first token may have run out, and the second may lack a scope
        for last in (False, False, True):
            extra = self._authorization.headers(scopes) if ours else {}
            try:
                response = self._client.request(
                    method,
                    url,
                    headers={**headers, **extra},
                    body=body,
                    length=length,
                    allow=(*allow, 401) if ours else allow,
                    retries=retries,
                )
            except HttpError as error:
                raise _explained(error, self.shown) from None
            if response.status != 401 or not ours:
                return response
            field = response.headers.get("www-authenticate", "")
            response.close()
            if last or not self._authorization.answer(field, scopes, extra):
                break
        raise NetworkError(
            f"{self.shown}: the registry {'refuses these' if extra else 'wants'} credentials",
            hint=f"log in first: docker login {self.host}, or podman login {self.host}",
        )

    def open(self, blob: Descriptor) -> BinaryIO:
        """A verifying stream of a blob, or of a manifest by its media type; `NotFoundError` without it."""
        is_document = blob.media_type in oci.MANIFESTS or blob.media_type in oci.INDEXES
        kind = "manifests" if is_document else "blobs"
        headers = {"Accept": ACCEPT} if is_document else {}
        response = self.pull("GET", self.url(f"{kind}/{blob.digest}"), headers=headers, allow=(404,))
        if response.status == 404:
            response.close()
            raise NotFoundError(f"{self.shown} has no {blob.digest} ({blob.media_type})")
        if not is_document:
            self.remember(blob.digest)
        return verified(io.BufferedReader(_Body(response), 1 << 18), blob.digest, blob.size, where=self.shown)

    def manifest(self, reference: str) -> tuple[Descriptor, bytes] | None:
        """The manifest or index under a tag or digest, verified as far as that can be; None without it."""
        url = self.url(f"manifests/{quote(reference, safe=':')}")
        with self.pull("GET", url, headers={"Accept": ACCEPT}, allow=(404,)) as response:
            if response.status == 404:
                return None
            data = response.read(DOCUMENT_LIMIT)
            content_type = response.headers.get("content-type", "").partition(";")[0].strip()
            claimed = response.headers.get("docker-content-digest", "")
        descriptor = oci.describe(data, media_type_of(data, content_type, where=f"{self.shown}:{reference}"))
        for expected in (reference if ":" in reference else "", claimed):
            if expected.startswith("sha256:") and expected != descriptor.digest:
                raise DigestMismatchError(
                    f"{self.shown}: the manifest asked for as {reference} has the digest {descriptor.digest}"
                    f" instead of {expected}",
                    hint="it was damaged on its way, or the registry is broken",
                )
        return descriptor, data

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Manifests that refer to `subject`: by the referrers API, else by the tag that stands in for it.

        distribution-spec, Listing Referrers and Unavailable Referrers API.
        """
        found: list[Descriptor] = []
        url = self.url(f"referrers/{subject}")
        for _ in range(PAGES):
            with self.pull("GET", url, headers={"Accept": oci.INDEX}, allow=(400, 404, 405, 501)) as response:
                if response.status >= 400:
                    return self._tagged_referrers(subject)
                data = response.read(DOCUMENT_LIMIT)
                following = next_page(response.headers.get("link", ""), url)
            found += oci.decode(data, Index, where=f"{self.shown}: the referrers of {subject}").manifests
            if not following or origin(following) != origin(url):
                break
            url = following
        return tuple(found)

    def _tagged_referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        found = self.manifest(fallback_tag(subject))
        if found is None or found[0].media_type not in oci.INDEXES:
            return ()
        return oci.decode(found[1], Index, where=f"{self.shown}:{fallback_tag(subject)}").manifests

    def put(self, document: Document, reference: str) -> bool:
        """Put a manifest under a tag or digest; whether the registry took note of its subject."""
        with self.push(
            "PUT",
            self.url(f"manifests/{quote(reference, safe=':')}"),
            headers={"Content-Type": document.descriptor.media_type},
            body=document.data,
        ) as response:
            claimed = response.headers.get("docker-content-digest", "")
            if claimed.startswith("sha256:") and claimed != document.descriptor.digest:
                raise DigestMismatchError(
                    f"{self.shown}: the registry took {document.descriptor.digest} for {claimed}"
                )
            return bool(response.headers.get("oci-subject"))

    def put_referrer(self, document: Document) -> None:
        """Put a manifest with a subject, and list it under the fallback tag where there is no API for it."""
        if self.put(document, document.descriptor.digest) or document.subject is None:
            return
        entry = document.as_referrer()
        # two who do this at once may overwrite each other: who is not listed afterwards does it again
        for _ in range(3):
            listed = self._tagged_referrers(document.subject)
            if any(other.digest == entry.digest for other in listed):
                return
            index = Index(schema_version=2, media_type=oci.INDEX, manifests=(*listed, entry))
            data = oci.encode(index)
            self.put(Document(oci.describe(data, oci.INDEX), data, ()), fallback_tag(document.subject))
        if all(other.digest != entry.digest for other in self._tagged_referrers(document.subject)):
            raise RamekinError(
                f"{self.shown}: {entry.digest} could not be listed as a referrer of {document.subject}"
            )

    def remember(self, digest: Digest) -> None:
        """Note that this repository holds a blob."""
        with _known_lock:
            _known[self.base, digest] = self.name

    def mountable(self, digest: Digest) -> tuple[str, ...]:
        """Other repositories of this registry that hold the blob, as far as is known."""
        with _known_lock:
            name = _known.get((self.base, digest))
        return (name,) if name and name != self.name else ()


def fallback_tag(subject: Digest) -> str:
    """distribution-spec, Referrers Tag Schema."""
    return subject.replace(":", "-", 1)


@contextmanager
def read(reference: Reference, *, plain_http: bool = False, client: Client | None = None) -> Iterator[Image]:
    """The image in a registry, for as long as the context lasts. Its blobs are fetched when opened."""
    client = client or Client(plain_http=plain_http)
    with client:
        repository = Repository(client, reference.host, reference.repository, plain_http=plain_http)
        wanted = reference.digest or reference.tag or "latest"
        found = repository.manifest(wanted)
        if found is None:
            raise NotFoundError(f"{reference} does not exist", hint="check the repository's name and the tag")
        root = found[0]
        tag = "" if reference.digest else f":{wanted}"
        image = Image(root, repository, f"{reference.location}{tag}")
        subjects = dict.fromkeys((root.digest, *(entry.digest for entry in image.manifests())))
        referrers: dict[Digest, Descriptor] = {}
        for subject in list(subjects)[:REFERRER_LOOKUPS]:
            for entry in repository.referrers(subject):
                referrers.setdefault(entry.digest, entry)
        yield Image(root, repository, image.name, tuple(referrers.values()))


def write(
    image: Image,
    reference: Reference,
    *,
    jobs: int = 8,
    plain_http: bool = False,
    progress: Progress = SILENT,
    client: Client | None = None,
) -> Descriptor:
    """Push `image` and its referrers, under the tag (default `latest`) or only under its digest.

    `DigestMismatchError` when the reference names another digest than the image's.
    """
    parts = contents(image)
    root = parts.root
    if reference.digest and reference.digest != root.descriptor.digest:
        raise UsageError(
            f"{reference}: the image has the digest {root.descriptor.digest}",
            hint="write :TAG instead of @DIGEST",
        )
    client = client or Client(plain_http=plain_http)
    with client:
        repository = Repository(client, reference.host, reference.repository, plain_http=plain_http)
        source = image.blobs if isinstance(image.blobs, Repository) else None
        beside = source is not None and source.host == repository.host and source.name != repository.name
        with progress.task(f"pushing to {reference}", total=parts.size) as task:

            def send(blob: Descriptor, check: workers.Check) -> None:
                candidates = repository.mountable(blob.digest)
                if beside and source is not None:
                    candidates = tuple(dict.fromkeys((source.name, *candidates)))
                Upload(repository, blob, image.blobs, advance=task.advance, check=check).run(candidates)
                repository.remember(blob.digest)

            workers.each(send, sorted(parts.blobs, key=lambda blob: -blob.size), jobs=jobs)
        for document in parts.documents[:-1]:
            repository.put(document, document.descriptor.digest)
        tag = reference.tag or ("" if reference.digest else "latest")
        if root.subject is not None:
            repository.put_referrer(root)
        repository.put(root, tag or root.descriptor.digest)
        for document in parts.referrers:
            repository.put_referrer(document)
    return image.root


class _Body(io.RawIOBase):
    """A response's body as a stream."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._chunks = response.chunks()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._chunks.close()
            self._response.close()
        super().close()


class _Kind(msgspec.Struct, frozen=True, rename="camel"):
    """What tells a manifest's media type when nothing says it."""

    schema_version: int = 0
    media_type: str = ""
    manifests: Any = None
    layers: Any = None
    config: Any = None


def media_type_of(data: bytes, content_type: str, *, where: str) -> str:
    """The media type of a manifest: the one in it, else the header's, else by its fields."""
    try:
        kind = _KIND.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{where} is not a manifest: {error}") from None
    known = oci.MANIFESTS | oci.INDEXES
    for found in (kind.media_type, content_type):
        if found in known:
            return found
    if kind.schema_version == 1:
        raise FormatError(
            f"{where} is in Docker's old format (schema 1)",
            hint="have it pushed anew by a client of this decade",
        )
    if kind.manifests is not None:
        return oci.INDEX
    if kind.layers is not None or kind.config is not None:
        return oci.MANIFEST
    raise FormatError(
        f"{where} is a {kind.media_type or content_type or 'document of no type'}, not an image"
    )


class _Error(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct, frozen=True):
    errors: tuple[_Error, ...] = ()


# made here, as two threads that make msgspec learn a type at the same time crash the process
_KIND, _ERRORS = msgspec.json.Decoder(_Kind), msgspec.json.Decoder(_Errors)


def _explained(error: HttpError, where: str) -> HttpError:
    """`error` with what the registry itself says of it (distribution-spec, Error Codes)."""
    try:
        said = _ERRORS.decode(error.body).errors
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ()
    words = "; ".join(f"{e.code}: {e.message}".strip(": ") for e in said[:3])
    message = f"{where}: {words} ({error.status})" if words else error.message
    return HttpError(
        message,
        status=error.status,
        url=error.url,
        body=error.body,
        retry_after=error.retry_after,
        hint=error.hint,
    )


def next_page(link: str, url: str) -> str:
    """The next page by a Link field (RFC 8288); empty for the last."""
    for part in link.split(","):
        address, _, parameters = part.strip().partition(">")
        if address.startswith("<") and 'rel="next"' in parameters.replace("rel=next", 'rel="next"'):
            return urljoin(url, address[1:])
    return ""
