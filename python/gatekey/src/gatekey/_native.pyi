from collections.abc import Sequence
from datetime import datetime, timedelta
from os import PathLike
from typing import Any, Generic, TypeVar, final

_T = TypeVar("_T", covariant=True)
_Key = tuple[App, str | None, str | None]

__all__ = [
    "DESCRIPTOR_SET",
    "App",
    "Call",
    "Client",
    "KeyDetails",
    "Listing",
    "SecretDetails",
    "Waker",
    "__version__",
    "printable",
]

__version__: str
DESCRIPTOR_SET: bytes

@final
class App:
    @staticmethod
    def from_wire(wire: bytes) -> App: ...
    def wire(self) -> bytes: ...
    @property
    def client_id(self) -> str: ...
    @property
    def client_name(self) -> str: ...
    @property
    def client_secret(self) -> str: ...
    def to_dict(self) -> dict[str, Any]: ...
    def to_json(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Call(Generic[_T]):
    def wait(self) -> _T: ...
    def wake(self, waker: Waker, id: int) -> None: ...
    def result(self) -> _T: ...
    def cancel(self) -> None: ...

@final
class Waker:
    def __new__(cls) -> Waker: ...
    def fileno(self) -> int: ...
    def take_done(self) -> list[int]: ...

@final
class Listing:
    def next_page(self) -> Call[list[_Key] | None]: ...

def printable(text: str) -> str: ...

@final
class Client:
    def __new__(
        cls,
        *,
        endpoint: str | None = None,
        api_key: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        ca_file: str | PathLike[str] | None = None,
        organization: str | None = None,
        scopes: Sequence[str] | None = None,
        plaintext: bool = False,
        proxy: str | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        user_agent: str | None = None,
        tried: list[str] = ...,
    ) -> Client: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def notices(self) -> list[str]: ...
    @property
    def client_id(self) -> str: ...
    def create(
        self,
        name: str,
        *,
        client_id: str | None = None,
        redirect_uris: Sequence[str] | None = None,
        skip_default_policy_assignments: bool = False,
        role: str | None = None,
        expires_at: datetime | None = None,
        secret_label: str | None = None,
        allow_from: Sequence[str] | None = None,
        rate: str | None = None,
        projects: Sequence[str] | None = None,
        domains: Sequence[str] | None = None,
    ) -> Call[_Key]: ...
    def get(self, client_id: str) -> Call[_Key]: ...
    def listall(self, *, limit: int | None) -> Listing: ...
    def update(
        self, client_id: str, *, client_name: str | None = None, redirect_uris: Sequence[str] | None = None
    ) -> Call[_Key]: ...
    def delete(self, client_id: str) -> Call[None]: ...
    def rotate(
        self, client_id: str, *, grace: timedelta, label: str | None = None, expires_at: datetime | None = None
    ) -> Call[_Key]: ...
    def disable(self, client_id: str) -> Call[KeyDetails]: ...
    def enable(self, client_id: str) -> Call[KeyDetails]: ...
    def details(self, client_id: str) -> Call[KeyDetails]: ...

@final
class KeyDetails:
    """All that a Gatekey server knows about a key. Dates are in UTC, or None if unset."""

    @property
    def client_id(self) -> str:
        """The OAuth client ID."""
    @property
    def client_name(self) -> str:
        """The human-readable name of the API key."""
    @property
    def key_id(self) -> str:
        """A random id, assigned at creation: another key with the same client id has another key id."""
    @property
    def role(self) -> str | None:
        """`admin`, `contributor`, `viewer`, `verifier` or None."""
    @property
    def redirect_uris(self) -> list[str]:
        """The redirect URIs of the authorization code grant."""
    @property
    def grant_types(self) -> list[str]:
        """The grants that the key may use, by their OAuth names (RFC 6749 section 1.3)."""
    @property
    def created_at(self) -> datetime | None:
        """The time of creation."""
    @property
    def updated_at(self) -> datetime | None:
        """The time of the last change."""
    @property
    def expires_at(self) -> datetime | None:
        """The time from which the key is rejected; None means never."""
    @property
    def disabled_at(self) -> datetime | None:
        """The time at which the key was disabled; None while it is enabled."""
    @property
    def epoch(self) -> int:
        """A counter that every token of the key carries. Raising it revokes all earlier tokens."""
    @property
    def secrets(self) -> list[SecretDetails]:
        """The secrets of the key, without their values."""
    @property
    def organization(self) -> str:
        """The server's organization; may be empty."""
    @property
    def allow_from(self) -> list[str]:
        """The networks that the key may be used from; empty means any."""
    @property
    def rate(self) -> str | None:
        """How often the key may be used, such as `100/s`; None means any rate."""
    @property
    def projects(self) -> list[str]:
        """The Flyte projects that the gate admits the key for; empty means any."""
    @property
    def domains(self) -> list[str]:
        """The Flyte domains that the gate admits the key for; empty means any."""
    def __eq__(self, other: object, /) -> bool: ...

@final
class SecretDetails:
    """A secret of a key, without its value."""

    @property
    def id(self) -> str:
        """The id of the secret."""
    @property
    def label(self) -> str:
        """Free text, at most 200 characters."""
    @property
    def created_at(self) -> datetime | None:
        """The time at which the secret was created."""
    @property
    def not_before(self) -> datetime | None:
        """The time before which the secret is rejected; None means that it is valid from its creation."""
    @property
    def expires_at(self) -> datetime | None:
        """The time from which the secret is rejected; None means never."""
    @property
    def last_used_at(self) -> datetime | None:
        """The last time at which the secret fetched a token; None means never. It may lag by a minute."""
    def __eq__(self, other: object, /) -> bool: ...
