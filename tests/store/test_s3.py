"""What only the S3 store can get wrong: faults of the server and the network, credentials,
addresses.
"""

from __future__ import annotations

import logging
import time
import traceback
from typing import Any

import pytest

from cbt_ray.errors import CbtRayError, Infrastructure, InputError
from cbt_ray.store import open_store, s3
from tests.s3_server import S3Server, free_ports
from tests.store.examples import key, unit
from tests.store.fake_s3 import fake_s3
from tests.threads import at_once

pytestmark = pytest.mark.slow

SECRET = "wJalrXUtnFEMIexampleSECRET"
ACCESS = "AKIAEXAMPLEONLY12345"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    S3Server("", ACCESS, SECRET).allow(monkeypatch)


def text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def one_line(error: CbtRayError, *parts: str) -> None:
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)
    assert SECRET not in text_of(error)
    assert ACCESS not in text_of(error)


@pytest.mark.parametrize(
    "url",
    [
        f"s3://{ACCESS}:{SECRET}@bucket/prefix",
        f"s3://bucket/prefix?aws_secret_access_key={SECRET}",
        f"s3://bucket/prefix?endpoint=http://h:1&secret={SECRET}",
        f"s3://bucket/prefix?endpoint=http://{ACCESS}:{SECRET}@localhost:9000",
        f"s3://bucket/prefix?endpoint=http://localhost:9000/?key={SECRET}",
        f"s3://bucket/prefix?endpoint=http://localhost:{SECRET}",
        f"s3://bucket/prefix#{SECRET}",
        f"s3://{SECRET}/prefix",
        f"https://{ACCESS}:{SECRET}@localhost/bucket",
        f"s3:/{SECRET}/bucket",
        "s3://bucket?endpoint=ftp://localhost",
        "s3://",
        "",
    ],
)
def test_address_that_is_none_or_holds_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InputError, match="expected") as caught:
        open_store(url)
    one_line(caught.value, "store")


def test_endpoint_from_the_environment_goes_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://localhost:9000/")
    assert open_store("s3://bucket/a/b/").url == "s3://bucket/a/b?endpoint=http://localhost:9000"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{ACCESS}:{SECRET}@localhost:9000/")
    with pytest.raises(InputError) as caught:
        open_store("s3://bucket/a/b/")
    one_line(caught.value, "endpoint")


@pytest.mark.usefixtures("keys")
def test_server_out_of_reach_is_infrastructure_on_one_line() -> None:
    host = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(Infrastructure) as caught:
        open_store(f"s3://bucket/p?endpoint=http://{host}").check()
    one_line(caught.value, "s3://bucket/p", host, "out of reach")
    assert caught.value.kind == "store"


def test_no_credentials_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    S3Server("", ACCESS, SECRET).allow(monkeypatch)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("aws") / "none"))
    with pytest.raises(InputError) as caught:
        open_store("s3://bucket/p?endpoint=http://127.0.0.1:9").check()
    one_line(caught.value, "no credentials", "AWS_ACCESS_KEY_ID")


@pytest.mark.s3
@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(
    s3_url: str, wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(wrong, ACCESS if wrong == "AWS_ACCESS_KEY_ID" else SECRET)
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as caught:
        open_store(s3_url).check()
    one_line(caught.value, "s3://", "127.0.0.1", "key")
    assert SECRET not in caplog.text
    assert ACCESS not in caplog.text


@pytest.mark.s3
def test_missing_bucket(s3_url: str) -> None:
    endpoint = s3_url.partition("?")[2]
    store = open_store(f"s3://never-made/p?{endpoint}")
    with pytest.raises(InputError) as caught:
        store.check()
    one_line(caught.value, "never-made", "does not exist")
    with pytest.raises(InputError):
        store.put(unit())


@pytest.mark.usefixtures("keys")
def test_server_that_repeats_the_credentials_is_not_quoted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        fake_s3(refuse="AccessDenied") as server,
        caplog.at_level(logging.DEBUG),
        pytest.raises(InputError) as caught,
    ):
        open_store(server.url).check()
    assert ACCESS not in str(caught.value)
    assert "AccessDenied" in str(caught.value)
    assert ACCESS not in caplog.text


@pytest.mark.usefixtures("keys")
def test_server_that_ignores_if_none_match_is_refused() -> None:
    with fake_s3(conditions=False) as server, pytest.raises(InputError) as caught:
        open_store(server.url).check()
    one_line(caught.value, "If-None-Match", "s3://bucket/p", "127.0.0.1")


@pytest.mark.usefixtures("keys")
def test_threads_make_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made, connect = list[int](), s3.connect

    def connecting(*args: Any) -> Any:
        made.append(1)
        time.sleep(0.1)
        return connect(*args)

    monkeypatch.setattr(s3, "connect", connecting)
    with fake_s3() as server:
        store = open_store(server.url)
        assert at_once(64, lambda number: store.get(key(f"p{number}"))) == [None] * 64
    assert made == [1]


@pytest.mark.usefixtures("keys")
def test_conflict_of_two_writers_is_tried_again() -> None:
    with fake_s3(conflicts=2) as server:
        store = open_store(server.url)
        assert store.create("demo/a", b"1")
        assert not store.create("demo/a", b"2")
        server.conflicts = 100
        with pytest.raises(Infrastructure):
            store.create("demo/b", b"1")


@pytest.mark.usefixtures("keys")
def test_writer_whose_answer_was_lost_knows_its_own_object() -> None:
    with fake_s3(lost=1) as server:
        store = open_store(server.url)
        assert store.create("demo/a", b"1")
        assert not store.create("demo/a", b"1")


@pytest.mark.usefixtures("keys")
def test_answer_cut_in_its_body_is_read_again_and_never_taken_for_a_torn_unit() -> None:
    with fake_s3() as server:
        store = open_store(server.url)
        store.put(unit())
        server.cuts = 2
        assert store.get(key()) == unit()
        server.cuts = 100
        with pytest.raises(Infrastructure):
            store.get(key())
        assert list(server.objects) == [f"/bucket/p/{key()}"]
