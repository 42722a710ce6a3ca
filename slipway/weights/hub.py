"""The Hub, through the real `huggingface_hub` client: a revision's manifest, and its files.

Every failure of the client is told as an error of Slipway's: `Transient` where trying again can help,
`Misconfigured` with what to change where it cannot.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_download,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import HfFileMetadata, http_get
from huggingface_hub.hf_api import RepoSibling
from pydantic import ValidationError

from slipway.errors import Misconfigured, SlipwayError, Transient
from slipway.weights.disk import DISK_ERRORS
from slipway.weights.manifest import Manifest, ManifestFile

METADATA_TIMEOUT_S = 30.0
READ_TIMEOUT_S = 60.0

Transport = Literal["xet", "http"]
"""How files come: `xet` where the Hub offers it, or always by plain HTTP."""

COMMIT = re.compile(r"[0-9a-f]{40}")

CLIENT_ERRORS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    OSError,
    RuntimeError,  # hf_xet's
    ValueError,
    KeyError,  # an answer in JSON that is not the Hub's
    TypeError,
)
"""What the client is known to raise."""


@dataclass(frozen=True, slots=True)
class HubRevision:
    """One commit of a repository, from which files can be fetched.

    Attributes:
        repo: `organisation/name`.
        commit: Commit id, 40 hexadecimal digits.
        endpoint: Base URL of the Hub; None for the client's default.
        token: For private and gated repositories. Without one, none of the user's own is used.
        repo_type: Of weights, or of a dataset.
    """

    repo: str
    commit: str
    endpoint: str | None
    token: str | None
    repo_type: Literal["model", "dataset"] = "model"

    def fetch(self, path: str, directory: Path) -> Path:
        """Download one file into `directory`, which the client's caches share; blocks until it is whole.

        Raises:
            Misconfigured: If the Hub refuses.
            OSError: If the disk does, with an errno of `DISK_ERRORS`.
            Transient: For everything that may pass.
        """
        try:
            return Path(
                hf_hub_download(
                    self.repo,
                    path,
                    repo_type=self.repo_type,
                    revision=self.commit,
                    endpoint=self.endpoint,
                    token=self.token or False,
                    local_dir=directory,
                    cache_dir=directory / ".hub",
                )
            )
        except CLIENT_ERRORS as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            raise explain(error, repo=self.repo, endpoint=self.endpoint) from error

    def admit(self, file: ManifestFile) -> HfFileMetadata:
        """Ask for a file without fetching it: what a gated or private repository refuses, it refuses here.

        Raises:
            Misconfigured: If the Hub refuses.
            Transient: If it cannot be reached, or has another file there than the manifest says.
        """
        url = hf_hub_url(self.repo, file.path, repo_type=self.repo_type, revision=self.commit, endpoint=self.endpoint)
        try:
            found = get_hf_file_metadata(url, token=self.token or False, endpoint=self.endpoint, retry_on_errors=True)
        except CLIENT_ERRORS as error:
            raise explain(error, repo=self.repo, endpoint=self.endpoint) from error
        if found.etag not in {None, file.sha256 or file.git_blob_id}:
            raise Transient(
                f"The Hub now has {found.etag} as {file.path}; the manifest says {file.sha256 or file.git_blob_id}.",
                remedy="Run again; if it stays so, something between here and the Hub answers in its place.",
            )
        if found.size not in {None, file.size_bytes}:
            raise Transient(
                f"{file.path} comes with {found.size} bytes; the manifest says {file.size_bytes}.",
                remedy="Run again; if it stays so, something between here and the Hub answers in its place.",
            )
        return found

    def fetch_file(self, file: ManifestFile, directory: Path, *, transport: Transport) -> Path:
        """Download one file into `directory`, going on where an earlier call ended; blocks until it is whole.

        Args:
            file: Which.
            directory: Where partial files are kept between calls, named by their digests.
            transport: `xet` where the Hub offers it for this file; otherwise, where that fails, and with `http` by
                plain HTTP.

        Raises:
            Misconfigured: If the Hub refuses.
            OSError: If the disk does, with an errno of `DISK_ERRORS`.
            Transient: For everything that may pass.
        """
        found = self.admit(file)
        if transport == "xet" and found.xet_file_data is not None:
            with suppress(SlipwayError):  # what Xet's store cannot give, the Hub gives by plain HTTP
                return self.fetch(file.path, directory)
        part = directory / part_name(file)
        there = part.stat().st_size if part.exists() else 0
        if there > file.size_bytes:  # an answer that was longer than it should be
            there = 0
        same_host = urlsplit(found.location).netloc == urlsplit(self.endpoint or constants.ENDPOINT).netloc
        headers = {"Accept-Encoding": "identity", **(self._authorization() if same_host else {})}
        try:
            with part.open("r+b" if there else "wb") as stream:
                stream.seek(there)
                http_get(found.location, stream, resume_size=there, headers=headers, expected_size=file.size_bytes)
        except CLIENT_ERRORS as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            if not isinstance(error, httpx2.HTTPError):  # another length: not the beginning of this file
                part.unlink(missing_ok=True)
            raise explain(error, repo=self.repo, endpoint=self.endpoint) from error
        return part

    def read(self, path: str, begin: int, end: int) -> bytes:
        """Bytes of one file as the Hub sends them, from `begin` to before `end`.

        Raises:
            Misconfigured: If the Hub refuses.
            Transient: For everything that may pass, an answer of another length too.
        """
        url = hf_hub_url(self.repo, path, repo_type=self.repo_type, revision=self.commit, endpoint=self.endpoint)
        headers = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity", **self._authorization()}
        try:
            response = get_session().get(url, headers=headers, timeout=READ_TIMEOUT_S, follow_redirects=True)
            hf_raise_for_status(response)
        except CLIENT_ERRORS as error:
            raise explain(error, repo=self.repo, endpoint=self.endpoint) from error
        data = response.content[begin:end] if response.status_code == httpx2.codes.OK else response.content
        if len(data) != end - begin:
            raise Transient(f"The Hub sent {len(data)} of {end - begin} bytes of {path}.", remedy="Run again.")
        return data

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def part_name(file: ManifestFile) -> str:
    """Name under which a file is kept while it is not whole: by its content, and by its path where two are alike."""
    path = hashlib.sha256(file.path.encode()).hexdigest()
    return f"{file.sha256 or file.git_blob_id}-{path[:8]}.part"


def token_from(token_env: str | None) -> str | None:
    """The Hub's token out of an environment variable; None where no variable is named.

    Raises:
        Misconfigured: If the variable is not set.
    """
    if token_env is None:
        return None
    token = os.environ.get(token_env)
    if not token:
        raise Misconfigured(
            f"The Hub's token is to come from {token_env}, which is not set.",
            remedy="Set the secret of that name on the platform, or name none in the profile.",
        )
    return token


def fetch_manifest(
    repo: str,
    revision: str,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    allow_floating: bool = False,
) -> Manifest:
    """Ask the Hub what it publishes at a revision; a branch or tag is resolved to its commit, once.

    Args:
        repo: `organisation/name`.
        revision: A commit id of 40 hexadecimal digits, or anything else git resolves, with `allow_floating`.
        endpoint: Base URL of the Hub; None for the client's default.
        token: For private and gated repositories.
        allow_floating: Accept a revision that may name something else tomorrow.

    Raises:
        Misconfigured: If the revision may move, or the Hub refuses or does not know what is asked for.
        Transient: If the Hub cannot be reached or fails.
    """
    pinned = COMMIT.fullmatch(revision) is not None
    if not (pinned or allow_floating):
        raise Misconfigured(
            f"Revision '{revision}' of {repo} may name something else tomorrow.",
            remedy="Pin a commit id of 40 hexadecimal digits, run `slipway resolve` on the profile, or allow floating "
            "revisions in it.",
        )
    try:
        info = HfApi(endpoint=endpoint, token=token or False).model_info(
            repo, revision=revision, files_metadata=True, timeout=METADATA_TIMEOUT_S
        )
    except CLIENT_ERRORS as error:
        raise explain(error, repo=repo, endpoint=endpoint) from error
    if pinned and info.sha != revision:
        raise Misconfigured(
            f"Asked for commit {revision} of {repo}, the Hub answered with {info.sha}.",
            remedy="Check that the endpoint is a Hub and that the commit still exists there.",
        )
    try:
        files = tuple(_manifest_file(sibling) for sibling in info.siblings or ())
        return Manifest.model_validate({"repo": repo, "commit": info.sha, "files": files})
    except ValidationError as error:
        first = error.errors()[0]
        raise Misconfigured(
            f"The Hub's listing of {repo}@{revision} cannot be used: {first['msg']}.",
            remedy="Pin another commit, or ask the repository's owner to repair this one.",
        ) from error


def explain(error: Exception, *, repo: str, endpoint: str | None) -> SlipwayError:
    """What a failure of the client means, and what to do about it."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return explain(error.__cause__, repo=repo, endpoint=endpoint)
    hub = endpoint or "The Hub"
    match error:
        case HfHubHTTPError():
            return _explain_answer(error, repo=repo, hub=hub)
        case OfflineModeIsEnabled():
            return Misconfigured("HF_HUB_OFFLINE forbids downloads.", remedy="Unset it for this run.")
        case FileMetadataError() | ValueError() | KeyError() | TypeError():
            return Misconfigured(
                f"{hub} does not answer as a Hub does: {_one_line(error)}",
                remedy="Check the endpoint, and any proxy on the way to it.",
            )
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return Misconfigured(f"{hub} is no HTTP address.", remedy="Give the endpoint as http(s)://host.")
    return Transient(f"Talking to {hub} about {repo} failed: {_one_line(error)}", remedy="Run again.")


def _explain_answer(error: HfHubHTTPError, *, repo: str, hub: str) -> SlipwayError:
    """What it means that the Hub answers with an error."""
    status = error.response.status_code
    said = _one_line(error)
    if isinstance(error, GatedRepoError):
        return Misconfigured(
            f"{repo} is gated, and this account has not been admitted.",
            remedy="Accept its terms on its page on the Hub, and use that account's token.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return Misconfigured(
            f"{hub} knows no repository {repo} for this account: misspelt, private, or no token given.",
            remedy="Check the name; if it is private or gated, set the token's secret in the profile.",
        )
    if isinstance(error, RevisionNotFoundError | RemoteEntryNotFoundError):
        return Misconfigured(
            f"{hub} does not have what was asked of {repo}: {said}",
            remedy="Pin a commit that exists; history may have been rewritten since this one was pinned.",
        )
    if status in {408, 429} or status >= 500:
        return Transient(f"{hub} is busy or failing: {said}", remedy="Run again in a minute.")
    if status in {401, 403}:
        return Misconfigured(
            f"{hub} refuses this token for {repo}: {said}",
            remedy="Set a valid token with read access to the repository in the profile's secret.",
        )
    return Misconfigured(
        f"{hub} refuses a request about {repo}: {said}", remedy="Check repository, revision and endpoint."
    )


def _one_line(error: Exception) -> str:
    """The client's own words on one line, without the query of a URL, which may be signed."""
    text = re.sub(r"\?\S+", "", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:300]}"


def _manifest_file(sibling: RepoSibling) -> ManifestFile:
    """For an LFS file the Hub's blob id is that of the pointer, so only the SHA-256 says anything."""
    return ManifestFile.model_validate(
        {
            "path": sibling.rfilename,
            "size_bytes": sibling.size,
            "sha256": sibling.lfs.sha256 if sibling.lfs else None,
            "git_blob_id": None if sibling.lfs else sibling.blob_id,
        }
    )
