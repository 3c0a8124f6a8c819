"""`flyteplugins.union.utils.auth`: encodes and decodes keys as the originals do."""

import base64
import json

import pytest
from environments import Environment
from hypothesis import given
from hypothesis import strategies as st

import gatekey
from flyteplugins.union.utils import auth
from flyteplugins.union.utils.auth import AppClientCredentials

PART = st.text(st.characters(codec="utf-8", exclude_characters=":"))
ENDPOINT = st.from_regex(r"[a-z0-9.-]{1,30}(:[0-9]{1,5})?|\[::1\]:[0-9]{1,5}", fullmatch=True)
# White space around a secret is not part of it.
SECRET = PART.map(str.strip).filter(bool)
CREDENTIALS = st.builds(
    AppClientCredentials, endpoint=ENDPOINT, client_id=PART.filter(bool), client_secret=SECRET, org=PART
)

# Runs in the environment of the originals: encodes our credentials, and decodes our keys.
ASK_THE_ORIGINALS = """
import json, sys
from flyte.remote._client.auth._auth_utils import decode_api_key
from flyteplugins.union.utils import auth
assert not hasattr(auth, "decode_app_client_credentials")
parts = json.loads(sys.argv[1])
encoded = [auth.encode_app_client_credentials(auth.AppClientCredentials(*each)) for each in parts]
print(json.dumps([encoded, [decode_api_key(each) for each in encoded]]))
"""


def encoded(text: bytes | str) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@given(CREDENTIALS)
def test_encoding_and_decoding_round_trip(credentials: AppClientCredentials) -> None:
    assert auth.decode_app_client_credentials(auth.encode_app_client_credentials(credentials)) == credentials


@given(st.text() | st.text().map(encoded) | st.binary().map(encoded))
def test_an_invalid_key_is_refused(text: str) -> None:
    try:
        decoded = auth.decode_app_client_credentials(text)
    except gatekey.InvalidArgumentError:
        return
    assert all((decoded.endpoint, decoded.client_id, decoded.client_secret))


def test_the_original_encodes_and_decodes_the_same(ours_then_theirs: Environment) -> None:
    parts = [
        ("flyte.example.com", "ci", "gk_secret", "None"),
        ("flyte.example.com", "ci", "gk_secret", "acme"),
        ("serverless-1.us-east-2.s.union.ai", "serverless-1-ada-ci", "s/+= ~", "ada"),
        ("bücher.example", "ключ", "\N{KEY}", "組織"),
    ]
    theirs, read = json.loads(ours_then_theirs.run(ASK_THE_ORIGINALS, json.dumps(parts)))

    assert [auth.encode_app_client_credentials(AppClientCredentials(*each)) for each in parts] == theirs
    assert [tuple(each) for each in read] == parts


def test_no_organization_is_encoded_as_none() -> None:
    of_none = AppClientCredentials("h", "ci", "s", None)  # type: ignore[arg-type]

    assert auth.encode_app_client_credentials(of_none) == encoded("h:ci:s:None")


def test_an_endpoint_may_name_a_port() -> None:
    decoded = auth.decode_app_client_credentials(encoded("[::1]:8443:ci:s3cret:acme"))

    assert decoded == AppClientCredentials("[::1]:8443", "ci", "s3cret", "acme")


def test_white_space_around_a_key_is_ignored() -> None:
    assert auth.decode_app_client_credentials(f" {encoded('h:ci:s3cret:None')}\n").client_id == "ci"


@pytest.mark.parametrize("field", ["client_id", "client_secret", "org"])
def test_a_colon_error_names_the_field(field: str) -> None:
    parts = {"endpoint": "h:8443", "client_id": "ci", "client_secret": "s3cret", "org": "None", field: "torn:apart"}

    with pytest.raises(gatekey.InvalidArgumentError, match=f"^{field} must not contain a colon") as caught:
        auth.encode_app_client_credentials(AppClientCredentials(**parts))
    assert "torn" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("not base64!", "is not base64"),
        (encoded("h:ci:s3cret")[:-1], "is not base64"),
        (encoded("h:ci:s3cret"), "endpoint:client_id:client_secret:organization"),
        (encoded(b"\xff:\xff:\xff:\xff"), "does not decode to text"),
        (encoded(":ci:s3cret:None"), "^endpoint .* is empty"),
        (encoded("h::s3cret:None"), "^client_id .* is empty"),
        (encoded("h:ci::None"), "^client_secret .* is empty"),
        ("gk_s3cret", "client secret"),
        (f"'{encoded('h:ci:s3cret:None')}'", "quotation marks"),
    ],
)
def test_an_invalid_key_error_omits_the_key(text: str, saying: str) -> None:
    with pytest.raises(gatekey.InvalidArgumentError, match=saying) as caught:
        auth.decode_app_client_credentials(text)
    assert "s3cret" not in str(caught.value)


def test_an_invalid_secret_error_omits_the_secret() -> None:
    with pytest.raises(gatekey.InvalidArgumentError, match=r"^client_secret contains a character") as caught:
        auth.encode_app_client_credentials(AppClientCredentials("h", "ci", "s3cret\ud800", "None"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_repr_of_credentials_omits_the_secret() -> None:
    assert "s3cret" not in repr(AppClientCredentials("h", "ci", "s3cret", "None"))


def test_the_serverless_endpoints_match_the_original(ours_then_theirs: Environment) -> None:
    listed = (
        "import json; from flyteplugins.union.utils import auth; print(json.dumps(list(auth._SERVERLESS_ENDPOINTS)))"
    )

    assert all(map(auth.is_serverless_endpoint, json.loads(ours_then_theirs.run(listed))))
    assert not auth.is_serverless_endpoint("flyte.example.com")
    assert not auth.is_serverless_endpoint("https://serverless-1.us-east-2.s.union.ai")
