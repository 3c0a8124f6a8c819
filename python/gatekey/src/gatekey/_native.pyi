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
        timeout: float | None = None,
        retries: int | None = None,
        user_agent: str | None = None,
        tried: list[str] = ...,
    ) -> Client: ...
    @property
    def endpoint(self) -> str: ...
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
    """Everything that a Gatekey server knows about a key; dates are in UTC, and `None` where there is none."""

    @property
    def client_id(self) -> str:
        """What names the key."""
    @property
    def client_name(self) -> str:
        """The name that people read."""
    @property
    def key_id(self) -> str:
        """Random, given at creation: a key deleted and made again under its client id is another key."""
    @property
    def role(self) -> str | None:
        """`admin`, `contributor`, `viewer` or `verifier`."""
    @property
    def redirect_uris(self) -> list[str]:
        """Where the authorization-code grant may lead."""
    @property
    def grant_types(self) -> list[str]:
        """The grants that the key may use, as OAuth writes them (RFC 6749 section 1.3)."""
    @property
    def created_at(self) -> datetime | None:
        """When the key was made."""
    @property
    def updated_at(self) -> datetime | None:
        """When the key was changed last."""
    @property
    def expires_at(self) -> datetime | None:
        """The key is refused from then on; none means never."""
    @property
    def disabled_at(self) -> datetime | None:
        """Since when the key is disabled; none while it is enabled."""
    @property
    def epoch(self) -> int:
        """Tokens carry it; raising it kills every earlier token of the key."""
    @property
    def secrets(self) -> list[SecretDetails]:
        """The secrets that prove the key, without the secrets themselves."""
    @property
    def organization(self) -> str:
        """The organization that the server serves; may be empty."""
    def __eq__(self, other: object, /) -> bool: ...

@final
class SecretDetails:
    """One of a key's secrets, without the secret itself."""

    @property
    def id(self) -> str:
        """Identifies the secret."""
    @property
    def label(self) -> str:
        """Free text for people."""
    @property
    def created_at(self) -> datetime | None:
        """When the secret was made."""
    @property
    def not_before(self) -> datetime | None:
        """The secret is refused before then; none means from its creation on it is good."""
    @property
    def expires_at(self) -> datetime | None:
        """The secret is refused from then on; none means never."""
    @property
    def last_used_at(self) -> datetime | None:
        """When the secret last fetched a token, seconds late; none means never."""
    def __eq__(self, other: object, /) -> bool: ...
