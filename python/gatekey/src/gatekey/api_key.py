"""`ApiKey`: an API key, and what can be done with one."""

from __future__ import annotations

from gatekey._native import App as _App
from gatekey.operation import Pending, listing, operation
from gatekey.settings import client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime, timedelta
    from typing import Any

    from google.protobuf.message import Message

    from gatekey._native import KeyDetails
    from gatekey.app_definition_pb2 import App

    _Key = tuple[_App, str | None, str | None]


class _OfDataclass:
    """What makes a class a dataclass, for those who ask: to import dataclasses takes as long as half a call."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        message = dataclasses.field(repr=False)
        organization = dataclasses.field(default=None)
        secret = dataclasses.field(default=None, repr=False)
        twin = dataclasses.make_dataclass(
            owner.__name__,
            [
                ("pb2", "App", message),
                ("organization", "str | None", organization),
                ("encoded_credentials", "str | None", secret),
            ],
        )
        return getattr(twin, self._name)


class ApiKey:
    """An API key: an OAuth 2.0 application for headless use.

    `create`, `get`, `listall`, `update` and `delete` work against Union as well; `rotate`, `disable`, `enable` and
    `details` need a Gatekey server. Each waits for the answer, with other threads running on; `ApiKey.get.aio(...)`
    and its like are awaited instead. Where server and credentials come from is told at `gatekey.init`. All raise
    `gatekey.Error`, and classes of it that name the case.

    Attributes:
        organization: The organization that the key belongs to, on serverless endpoints.
        encoded_credentials: base64 of `endpoint:client_id:client_secret:organization`, for `FLYTE_API_KEY`; only in
            the answers to `create` and `rotate`. It is a secret.

    Example:
        key = ApiKey.create(name="ci-pipeline")
        print(f"export FLYTE_API_KEY={key.encoded_credentials}")

        for key in ApiKey.listall():
            print(f"{key.client_id}: {key.client_name}")

        key = ApiKey.get(client_id="ci-pipeline")
        ApiKey.delete(client_id="ci-pipeline")
    """

    organization: str | None
    encoded_credentials: str | None

    # The message as it came, until somebody asks for `pb2` and might change it; from then on `_pb2` counts.
    _app: _App | None
    _pb2: App | Message | None

    # For dataclasses.fields, replace and their like, and for dataclasses that derive from this class.
    __dataclass_fields__ = _OfDataclass("__dataclass_fields__")
    __dataclass_params__ = _OfDataclass("__dataclass_params__")
    __match_args__ = ("pb2", "organization", "encoded_credentials")
    # As for a dataclass that has no order and may change.
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, pb2: App | Message, organization: str | None = None, encoded_credentials: str | None = None
    ) -> None:
        self._app = None
        self._pb2 = pb2
        self.organization = organization
        self.encoded_credentials = encoded_credentials

    @classmethod
    def _from_answer(cls, key: _Key) -> ApiKey:
        made = cls.__new__(cls)
        made._app, made.organization, made.encoded_credentials = key
        made._pb2 = None
        return made

    @classmethod
    def _from_page(cls, page: list[_Key] | None) -> list[ApiKey] | None:
        return None if page is None else [cls._from_answer(key) for key in page]

    @property
    def pb2(self) -> Any:
        """The protobuf message `cloudidl.identity.App`, made when it is first asked for."""
        app = self._app
        if app is not None:
            from gatekey.app_definition_pb2 import App

            self._pb2 = App.FromString(app.wire())
            self._app = None
        return self._pb2

    @pb2.setter
    def pb2(self, pb2: App | Message) -> None:
        self._app, self._pb2 = None, pb2

    def _message(self) -> _App:
        """The message as it is now."""
        return self._app or _App.from_wire(self.pb2.SerializeToString(deterministic=True))

    @property
    def client_id(self) -> str:
        """What names the key."""
        return (self._app or self.pb2).client_id

    @property
    def client_name(self) -> str:
        """The name that people read."""
        return (self._app or self.pb2).client_name

    @property
    def client_secret(self) -> str:
        """The secret; empty but in the answers to `create` and `rotate`."""
        return (self._app or self.pb2).client_secret

    def to_dict(self) -> dict[str, Any]:
        """The message as protobuf's `MessageToDict` gives it. It holds the secret, if there is one.

        Raises:
            InvalidArgumentError: When a date is out of the range that JSON knows, the years 1 to 9999.
        """
        return self._message().to_dict()

    def to_json(self) -> str:
        """The message as protobuf's `MessageToJson` prints it. It holds the secret, if there is one.

        Raises:
            InvalidArgumentError: When a date is out of the range that JSON knows, the years 1 to 9999.
        """
        return self._message().to_json()

    @operation
    @classmethod
    def create(
        cls,
        name: str,
        *,
        redirect_uris: Sequence[str] | None = None,
        skip_default_policy_assignments: bool = False,
        role: str | None = None,
        expires_at: datetime | None = None,
    ) -> Pending[ApiKey]:
        """Makes a key. The answer has the secret, this once: keep its `encoded_credentials` somewhere.

        Args:
            name: The name. The client id derives from it: lower case, and every run of characters other than
                `0-9 a-z` becomes one `-`.
            redirect_uris: Where the authorization-code grant may lead; none means
                `http://localhost:8080/authorization-code/callback`.
            skip_default_policy_assignments: Attach no default policy; on a Gatekey server: give the key no role.
            role: What the key may do: `admin`, `contributor`, `viewer` or `verifier`; none means the server's
                default, which is `contributor`. Needs a Gatekey server.
            expires_at: The key is refused from then on; a date with a time zone. Needs a Gatekey server.

        Raises:
            AlreadyExistsError: When the client id is taken.
            InvalidArgumentError: When a value breaks a rule; a name without an ASCII letter or digit before
                anything is sent.
            ValueError: When the role is none of the four.

        Example:
            key = ApiKey.create(name="ci-pipeline")
            print(key.client_id, key.client_secret, key.encoded_credentials)
        """
        call = client().create(
            name,
            redirect_uris=redirect_uris,
            skip_default_policy_assignments=skip_default_policy_assignments,
            role=role,
            expires_at=_with_zone(expires_at),
        )
        return Pending(call, cls._from_answer)

    @operation
    @classmethod
    def get(cls, client_id: str) -> Pending[ApiKey]:
        """Looks a key up; it has no secret.

        Args:
            client_id: What names the key.

        Raises:
            NotFoundError: When there is none.

        Example:
            key = ApiKey.get(client_id="ci-pipeline")
            print(key.client_name)
        """
        return Pending(client().get(client_id), cls._from_answer)

    @listing
    @classmethod
    def listall(cls, *, limit: int | None = 100) -> Callable[[], Pending[list[ApiKey] | None]]:
        """Lists keys, page by page as they are asked for.

        Args:
            limit: How many keys at most; `None` lists all, and 0 none without asking the server.

        Yields:
            Keys, in the server's order.

        Raises:
            OverflowError: When the limit is negative.

        Example:
            for key in ApiKey.listall(limit=10):
                print(f"{key.client_id}: {key.client_name}")
        """
        keys = client().listall(limit=limit)
        return lambda: Pending(keys.next_page(), cls._from_page)

    @operation
    @classmethod
    def update(
        cls,
        client_id: str,
        *,
        client_name: str | None = None,
        redirect_uris: Sequence[str] | None = None,
    ) -> Pending[ApiKey]:
        """Changes the name or the redirect URIs of a key; everything else, the secret too, stays.

        The key is looked up first and sent back whole, because the wire has no field mask: somebody else's change in
        between is undone.

        Args:
            client_id: What names the key.
            client_name: A new name; an empty one counts as not given.
            redirect_uris: New redirect URIs, in place of all earlier ones; none keeps them.

        Raises:
            NotFoundError: When there is none.
            InvalidArgumentError: When a value breaks a rule.

        Example:
            key = ApiKey.update(client_id="ci-pipeline", client_name="deploy")
        """
        call = client().update(client_id, client_name=client_name, redirect_uris=redirect_uris)
        return Pending(call, cls._from_answer)

    @operation
    @classmethod
    def delete(cls, client_id: str) -> Pending[None]:
        """Deletes a key for good; on a Gatekey server its tokens die at once.

        Args:
            client_id: What names the key.

        Raises:
            NotFoundError: When there is none.

        Example:
            ApiKey.delete(client_id="ci-pipeline")
        """
        return Pending(client().delete(client_id), _nothing)

    @operation
    @classmethod
    def rotate(
        cls,
        client_id: str,
        *,
        grace: timedelta | None = None,
        label: str | None = None,
        expires_at: datetime | None = None,
    ) -> Pending[ApiKey]:
        """Gives a key a new secret, and retires the others after a grace. A key may rotate itself.

        Args:
            client_id: What names the key.
            grace: How long the secrets that are valid now stay valid, at most 90 days; none retires them at once and
                kills every token of the key.
            label: Free text kept with the new secret, at most 200 characters.
            expires_at: The new secret is refused from then on; a date with a time zone. None means never.

        Returns:
            The key with the new secret, this once.

        Raises:
            NotFoundError: When there is none.
            InvalidArgumentError: When the grace is too long or the date past.
            UnimplementedError: When the server is not a Gatekey.

        Example:
            key = ApiKey.rotate(client_id="ci-pipeline", grace=timedelta(hours=24))
            print(f"export FLYTE_API_KEY={key.encoded_credentials}")
        """
        from datetime import timedelta

        if grace is None:
            grace = timedelta()
        elif grace < timedelta():
            raise ValueError("grace must not be negative")
        call = client().rotate(client_id, grace=grace, label=label, expires_at=_with_zone(expires_at))
        return Pending(call, cls._from_answer)

    @operation
    @classmethod
    def disable(cls, client_id: str) -> Pending[KeyDetails]:
        """Refuses a key and its tokens until it is enabled again.

        Args:
            client_id: What names the key.

        Raises:
            NotFoundError: When there is none.
            UnimplementedError: When the server is not a Gatekey.

        Example:
            assert ApiKey.disable(client_id="ci-pipeline").disabled_at is not None
        """
        return Pending(client().disable(client_id), _itself)

    @operation
    @classmethod
    def enable(cls, client_id: str) -> Pending[KeyDetails]:
        """Lets a disabled key in again; tokens from before stay dead.

        Args:
            client_id: What names the key.

        Raises:
            NotFoundError: When there is none.
            UnimplementedError: When the server is not a Gatekey.

        Example:
            assert ApiKey.enable(client_id="ci-pipeline").disabled_at is None
        """
        return Pending(client().enable(client_id), _itself)

    @operation
    @classmethod
    def details(cls, client_id: str) -> Pending[KeyDetails]:
        """Looks up everything that a Gatekey server knows about a key: role, dates, secrets and their last use.

        Args:
            client_id: What names the key. A key may look at itself.

        Raises:
            NotFoundError: When there is none.
            UnimplementedError: When the server is not a Gatekey.

        Example:
            for secret in ApiKey.details(client_id="ci-pipeline").secrets:
                print(secret.id, secret.last_used_at)
        """
        return Pending(client().details(client_id), _itself)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(client_id={self.client_id!r}, client_name={self.client_name!r}, "
            f"organization={self.organization!r})"
        )

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:
        """The columns of Flyte's tables."""
        yield "client_id", self.client_id
        yield "name", self.client_name
        if self.organization:
            yield "organization", self.organization

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        assert isinstance(other, ApiKey)
        mine, theirs = ((key._message(), key.organization, key.encoded_credentials) for key in (self, other))
        return mine == theirs

    def __copy__(self) -> ApiKey:
        # Both share one message, as copies of a dataclass do.
        copied = type(self).__new__(type(self))
        _ = self.pb2
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if (app := state.pop("_app")) is not None:
            state["_wire"] = app.wire()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        wire = state.pop("_wire", None)
        self.__dict__.update(state, _app=None if wire is None else _App.from_wire(wire))


def _with_zone(date: datetime | None) -> datetime | None:
    # What is no datetime is refused with the other arguments.
    if date is not None and hasattr(date, "tzinfo"):
        if date.tzinfo is None:
            raise ValueError("expires_at needs a time zone, such as datetime.timezone.utc")
        if date.year < 1970:
            raise ValueError("expires_at is before 1970")
    return date


def _itself(details: KeyDetails) -> KeyDetails:
    return details


def _nothing(_: None) -> None:
    return None
