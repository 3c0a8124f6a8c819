from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, final, type_check_only

from google.protobuf.internal.containers import RepeatedScalarFieldContainer
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.internal.well_known_types import Timestamp as _TimestampMethods
from google.protobuf.message import Message

# Numbers, which may be unknown to this version of the message.
_Enum: TypeAlias = int | str

@type_check_only
class _Timestamp(_TimestampMethods, Message):
    seconds: int
    nanos: int

@final
class Profile(Message):
    apporg: str
    def __init__(self, *, apporg: str | None = ...) -> None: ...

@final
class App(Message):
    organization: str
    client_id: str
    application_type: int
    client_name: str
    logo_uri: str
    client_uri: str
    policy_uri: str
    tos_uri: str
    jwks_uri: str
    token_endpoint_auth_method: int
    client_secret: str
    @property
    def client_id_issued_at(self) -> _Timestamp: ...
    @property
    def redirect_uris(self) -> RepeatedScalarFieldContainer[str]: ...
    @property
    def response_types(self) -> RepeatedScalarFieldContainer[int]: ...
    @property
    def grant_types(self) -> RepeatedScalarFieldContainer[int]: ...
    @property
    def contacts(self) -> RepeatedScalarFieldContainer[str]: ...
    @property
    def client_secret_expires_at(self) -> _Timestamp: ...
    @property
    def profile(self) -> Profile: ...
    def __init__(
        self,
        *,
        organization: str | None = ...,
        client_id: str | None = ...,
        client_id_issued_at: Mapping[str, Any] | None = ...,
        redirect_uris: Iterable[str] | None = ...,
        response_types: Iterable[_Enum] | None = ...,
        grant_types: Iterable[_Enum] | None = ...,
        application_type: _Enum | None = ...,
        contacts: Iterable[str] | None = ...,
        client_name: str | None = ...,
        logo_uri: str | None = ...,
        client_uri: str | None = ...,
        policy_uri: str | None = ...,
        tos_uri: str | None = ...,
        jwks_uri: str | None = ...,
        token_endpoint_auth_method: _Enum | None = ...,
        client_secret: str | None = ...,
        client_secret_expires_at: Mapping[str, Any] | None = ...,
        profile: Profile | Mapping[str, Any] | None = ...,
    ) -> None: ...

ApplicationType: EnumTypeWrapper
GrantTypes: EnumTypeWrapper
ResponseTypes: EnumTypeWrapper
TokenEndpointAuthMethod: EnumTypeWrapper
