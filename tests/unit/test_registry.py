"""Image registries: what a tag names is told rightly, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime

import pytest

from slipway.errors import Corrupt, Misconfigured, Transient
from slipway.registry.client import ATTEMPTS, MAX_REDIRECTS, MOST_BYTES, Credentials, Registry
from slipway.registry.image import ResolvedImage, digest_now, resolve_image
from slipway.registry.reference import DEFAULT_HOST, ImageReference, digest_in, parse_reference
from slipway.units import utc_now
from tests.support.registry_double import INDEX, MANIFEST, RegistryDouble, Reply, registry_double

HEX = "ab" * 32


@pytest.fixture
def double() -> Iterator[RegistryDouble]:
    with registry_double() as there:
        yield there


class Asked:
    """What is asked of a double, and how long was waited in between."""

    def __init__(self, double: RegistryDouble, credentials: Credentials | None = None, deadline_s: float = 60) -> None:
        self._double, self._credentials, self._deadline_s = double, credentials, deadline_s
        self.waited_s: list[float] = []

    def resolve(self, name: str = "org/engine:v1") -> ResolvedImage:
        registry, reference = self._registry(name)
        with registry:
            return resolve_image(registry, reference)

    def digest_now(self, name: str = "org/engine:v1") -> str:
        registry, reference = self._registry(name)
        with registry:
            return digest_now(registry, reference)

    def _registry(self, name: str) -> tuple[Registry, ImageReference]:
        reference = parse_reference(f"{self._double.address}/{name}")
        made = Registry(reference, self._credentials, deadline_s=self._deadline_s, pause=self.waited_s.append)
        return made, reference


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("engine", (DEFAULT_HOST, "library/engine", "latest", None)),
        ("engine:v1", (DEFAULT_HOST, "library/engine", "v1", None)),
        ("docker.io/org/engine:v1", (DEFAULT_HOST, "org/engine", "v1", None)),
        ("org/engine", (DEFAULT_HOST, "org/engine", "latest", None)),
        (f"org/engine@sha256:{HEX}", (DEFAULT_HOST, "org/engine", None, f"sha256:{HEX}")),
        (f"org/engine:v1@sha256:{HEX}", (DEFAULT_HOST, "org/engine", "v1", f"sha256:{HEX}")),
        ("host.example/a/b/c:v1.2_x", ("host.example", "a/b/c", "v1.2_x", None)),
        ("localhost/engine:1", ("localhost", "engine", "1", None)),
        ("registry:5000/engine", ("registry:5000", "engine", "latest", None)),
    ],
)
def test_names_are_read_as_container_tools_read_them(image: str, expected: tuple[str | None, ...]) -> None:
    found = parse_reference(image)
    assert (found.host, found.repository, found.tag, found.digest) == expected


@pytest.mark.parametrize(
    "image", ["", "Org/engine", "engine:", "engine@sha256:12", "a//b", "a/../b", "engine:v1@md5:00", "x:y/../z", "a b"]
)
def test_what_is_no_name_is_refused(image: str) -> None:
    with pytest.raises(Misconfigured, match="no name of an image"):
        parse_reference(image)


def test_only_this_machine_is_asked_without_tls() -> None:
    assert parse_reference("localhost:5000/a").url == "http://localhost:5000/v2/a"
    assert parse_reference("127.0.0.1:5000/a").url == "http://127.0.0.1:5000/v2/a"
    assert parse_reference("127.0.0.1.example.org/a").url == "https://127.0.0.1.example.org/v2/a"


def test_a_digest_is_read_off_a_name() -> None:
    assert digest_in(f"a:v1@sha256:{HEX}") == f"sha256:{HEX}"
    assert digest_in("a:v1") is None
    assert digest_in("a@sha256:12") is None
    assert digest_in(None) is None


def test_a_tag_is_resolved_to_the_index_and_its_amd64_manifest(double: RegistryDouble) -> None:
    digest = double.publish("v1")
    assert Asked(double).resolve() == ResolvedImage(digest, double.amd64_in("v1"))
    (request,) = double.seen
    assert (request.method, request.path) == ("GET", "/v2/org/engine/manifests/v1")
    assert INDEX in request.accept
    assert MANIFEST in request.accept


def test_a_single_manifest_is_believed_after_a_look_into_its_config(double: RegistryDouble) -> None:
    digest = double.publish_single("v1")
    assert Asked(double).resolve() == ResolvedImage(digest, digest)


def test_a_digest_is_asked_for_itself_wherever_the_tag_is_now(double: RegistryDouble) -> None:
    old = double.publish("v1")
    new = double.publish("v1", salt="rebuilt")
    assert old != new
    assert Asked(double).resolve(f"org/engine:v1@{old}").digest == old
    assert Asked(double).digest_now(f"org/engine:v1@{old}") == new


def test_whether_a_tag_moved_is_no_pull(double: RegistryDouble) -> None:
    digest = double.publish("v1")
    assert Asked(double).digest_now() == digest
    assert [request.method for request in double.seen] == ["HEAD"]


def test_a_digest_that_no_header_tells_is_reckoned(double: RegistryDouble) -> None:
    digest = double.publish("v1")
    double.tells_digest = False
    assert Asked(double).digest_now() == digest
    assert Asked(double).resolve().digest == digest


@pytest.mark.parametrize("account", [None, ("me", "pass:word")])
def test_a_token_is_fetched_where_one_is_asked_for(double: RegistryDouble, account: tuple[str, str] | None) -> None:
    digest = double.publish_single("v1")
    double.scheme, double.account = "Bearer", account
    assert Asked(double, Credentials(*account) if account else None).resolve().digest == digest
    challenged, token, *rest = double.seen
    assert challenged.authorization is None
    assert token.query == {"service": ["registry"], "scope": ["repository:org/engine:pull"]}
    assert [request.authorization for request in rest] == ["Bearer t0ken"] * 2, "the blob needs no second token"


def test_an_account_is_given_where_one_is_asked_for(double: RegistryDouble) -> None:
    digest = double.publish("v1")
    double.scheme, double.account = "Basic", ("me", "secret")
    assert Asked(double, Credentials("me", "secret")).resolve().digest == digest


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_without_the_right_account_it_ends_at_once(double: RegistryDouble, scheme: str) -> None:
    double.publish("v1")
    double.scheme, double.account = scheme, ("me", "secret")
    for credentials in (None, Credentials("me", "wrong")):
        with pytest.raises(Misconfigured, match="misspelt, private, or gone") as caught:
            Asked(double, credentials).resolve()
        assert "REGISTRY_USERNAME" in caught.value.remedy
        assert "wrong" not in repr(caught.value) + repr(credentials)
    assert len(double.seen) <= 4


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Negotiate",
        "Bearer",
        'Bearer realm=""',
        'Bearer realm="http://elsewhere.example/token"',
        'Bearer realm="::"',
    ],
)
def test_a_challenge_that_leads_nowhere_is_refused(double: RegistryDouble, challenge: str) -> None:
    double.faults.append(Reply(401, b"", {"WWW-Authenticate": challenge}))
    with pytest.raises(Misconfigured, match=r"wants a token from|names no address|does not let us see"):
        Asked(double, Credentials("me", "secret")).resolve()
    assert len(double.seen) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b'{"token": 7}', b'{"token": "a\\r\\nHost: b"}', b'{"x": "y"}']
)
def test_an_answer_without_a_token_is_none(double: RegistryDouble, body: bytes) -> None:
    double.scheme = "Bearer"
    double.faults += [
        Reply(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{double.address}/token"'}),
        Reply(200, body),
    ]
    with pytest.raises(Misconfigured, match="gives no token"):
        Asked(double).resolve()


def test_a_tag_that_is_not_there_is_named(double: RegistryDouble) -> None:
    with pytest.raises(Misconfigured, match="no tag v1 of org/engine"):
        Asked(double).resolve()
    with pytest.raises(Misconfigured, match=f"no sha256:{HEX} of"):
        Asked(double).resolve(f"org/engine@sha256:{HEX}")
    with pytest.raises(Misconfigured, match="no tag v1"):
        Asked(double).digest_now()


def test_it_waits_as_long_as_it_is_told(double: RegistryDouble) -> None:
    digest = double.publish("v1")
    later = format_datetime(utc_now() + timedelta(seconds=30), usegmt=True)
    double.faults += [
        Reply(429, headers={"Retry-After": "7"}),
        Reply(503, headers={"Retry-After": later}),
        Reply(502, headers={"Retry-After": "soon"}),
    ]
    asked = Asked(double)
    assert asked.resolve().digest == digest
    seven, date, own = asked.waited_s
    assert (seven, own) == (7, 4)
    assert 25 < date <= 30


def test_it_does_not_wait_longer_than_there_is_time(double: RegistryDouble) -> None:
    double.faults.append(Reply(429, headers={"Retry-After": "3600"}))
    asked = Asked(double)
    with pytest.raises(Transient, match="asks to wait 3600 s"):
        asked.resolve()
    assert asked.waited_s == []


def test_it_gives_up_on_a_registry_that_stays_busy(double: RegistryDouble) -> None:
    double.faults += [Reply(500)] * 20
    asked = Asked(double)
    with pytest.raises(Transient, match="busy"):
        asked.resolve()
    assert asked.waited_s == [1, 2, 4]
    assert len(double.seen) == ATTEMPTS


@pytest.mark.parametrize(
    "media_type", ["text/html", "application/json", "application/vnd.docker.distribution.manifest.v1+prettyjws", ""]
)
def test_what_is_no_manifest_is_refused(double: RegistryDouble, media_type: str) -> None:
    double.faults.append(Reply(200, b"{}", {"Content-Type": media_type}))
    with pytest.raises(Misconfigured, match="does not answer as an image registry"):
        Asked(double).resolve()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"manifests": [{"digest": "sha256:../../x"}]}', b"\xff"])
def test_a_manifest_that_cannot_be_read_is_refused(double: RegistryDouble, body: bytes) -> None:
    double.faults.append(Reply(200, body, {"Content-Type": INDEX}))
    with pytest.raises(Misconfigured, match="cannot be read"):
        Asked(double).resolve()


def test_a_digest_that_is_not_of_the_bytes_is_not_believed(double: RegistryDouble) -> None:
    double.publish("v1")
    body = double.manifest("v1").body
    double.faults.append(
        Reply(200, body, {"Content-Type": INDEX, "Docker-Content-Digest": f"sha256:{HEX}"}),
    )
    with pytest.raises(Corrupt, match="header says"):
        Asked(double).resolve()


def test_other_bytes_than_were_asked_for_are_not_believed(double: RegistryDouble) -> None:
    double.publish("v1")
    double.faults.append(double.manifest("v1"))
    with pytest.raises(Corrupt, match="the request says"):
        Asked(double).resolve(f"org/engine@sha256:{HEX}")


def test_a_config_of_other_bytes_is_not_believed(double: RegistryDouble) -> None:
    double.publish_single("v1")
    double.faults += [double.manifest("v1"), Reply(200, b'{"os": "linux", "architecture": "amd64"}')]
    with pytest.raises(Corrupt, match="the request says"):
        Asked(double).resolve()


def test_an_image_for_other_machines_is_refused(double: RegistryDouble) -> None:
    double.publish("v1", systems=("linux/arm64", "windows/amd64"))
    with pytest.raises(Misconfigured, match=r"no image for linux/amd64; there is one for linux/arm64, windows/amd64"):
        Asked(double).resolve()
    double.publish_single("v2", system="linux/arm64")
    with pytest.raises(Misconfigured, match="one for linux/arm64"):
        Asked(double).resolve("org/engine:v2")


def test_redirects_are_followed_without_the_token(double: RegistryDouble) -> None:
    digest = double.publish("v1")
    double.scheme = "Bearer"
    double.faults += [
        Reply(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{double.address}/token"'}),
        Reply(200, b'{"access_token": "t0ken"}'),
        Reply(307, b"", {"Location": f"http://{double.elsewhere}/v2/org/engine/manifests/v1"}),
        double.manifest("v1"),
    ]
    assert Asked(double).resolve().digest == digest
    assert double.seen[-1].host == double.elsewhere
    assert double.seen[-1].authorization is None


def test_redirects_without_end_are_refused(double: RegistryDouble) -> None:
    double.faults += [Reply(302, b"", {"Location": "/v2/org/engine/manifests/v1"})] * 50
    with pytest.raises(Misconfigured, match="redirects more than"):
        Asked(double).resolve()
    assert len(double.seen) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("ftp://elsewhere.example/x", "leads to 'elsewhere.example' without TLS"),
        ("http://elsewhere.example/x", "leads to 'elsewhere.example' without TLS"),
        ("::", "does not answer as an image registry"),
    ],
)
def test_redirects_that_leave_tls_are_refused(double: RegistryDouble, location: str, why: str) -> None:
    double.faults.append(Reply(302, b"", {"Location": location}))
    with pytest.raises(Misconfigured, match=why):
        Asked(double).resolve()


def test_an_answer_without_end_is_cut(double: RegistryDouble) -> None:
    double.faults.append(Reply(200, b" " * (MOST_BYTES + 1), {"Content-Type": INDEX}))
    with pytest.raises(Misconfigured, match=r"longer than 4\.0 MiB"):
        Asked(double).resolve()


def test_a_registry_that_hangs_does_not_keep_us(double: RegistryDouble) -> None:
    double.faults.append(Reply(200, b"{", {"Content-Type": INDEX}, hang=True))
    began_s = time.monotonic()
    with pytest.raises(Transient):
        Asked(double, deadline_s=0.3).resolve()
    assert time.monotonic() - began_s < 5


def test_a_registry_that_is_not_there_is_asked_some_times(double: RegistryDouble) -> None:
    asked = Asked(double)
    asked._double = RegistryDouble(9, double.closed)  # the discard port, where nobody listens
    with pytest.raises(Transient, match="cannot be reached"):
        asked.resolve()
    assert asked.waited_s == [1, 2, 4]
