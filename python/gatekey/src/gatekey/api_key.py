"""`ApiKey`: an API key, and the operations on API keys."""

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
    """A dataclass attribute, made on first use.

    Importing `dataclasses` takes half as long as a call.
    """

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

    `create`, `get`, `listall`, `update` and `delete` also work with a Union server. `rotate`,
    `disable`, `enable` and `details` need a Gatekey server.

    Each operation blocks until it has a result, while other threads keep running. Use
    `ApiKey.get.aio(...)` and so on in async code. `gatekey.init` describes where the server and the
    credentials come from. Every operation raises `gatekey.Error` or a subclass of it.

    Attributes:
        pb2: The protobuf message `cloudidl.identity.App`.
        organization: The organization of the key, on serverless endpoints.
        encoded_credentials: base64 of `endpoint:client_id:client_secret:organization`, for
            `FLYTE_API_KEY`. Only `create` and `rotate` return it. It contains the secret.

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

    # The message as it was received. After the first use of `pb2`, whose value the caller may
    # change, it is None and `_pb2` has the message.
    _app: _App | None
    _pb2: App | Message | None

    # For `dataclasses.fields`, `dataclasses.replace` and so on, and for dataclasses that derive
    # from this class.
    __dataclass_fields__ = _OfDataclass("__dataclass_fields__")
    __dataclass_params__ = _OfDataclass("__dataclass_params__")
    __match_args__ = ("pb2", "organization", "encoded_credentials")
    # As in a dataclass that is mutable and compares by value.
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
        """The protobuf message `cloudidl.identity.App`, created on first use."""
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
        """Returns the current message."""
        return self._app or _App.from_wire(self.pb2.SerializeToString(deterministic=True))

    @property
    def client_id(self) -> str:
        """The OAuth client ID."""
        return (self._app or self.pb2).client_id

    @property
    def client_name(self) -> str:
        """The human-readable name of the API key."""
        return (self._app or self.pb2).client_name

    @property
    def client_secret(self) -> str:
        """The client secret; empty unless the key comes from `create` or `rotate`."""
        return (self._app or self.pb2).client_secret

    def to_dict(self) -> dict[str, Any]:
        """Returns the message as protobuf's `MessageToDict` does, with the secret if it has one.

        Raises:
            InvalidArgumentError: If a date is outside the years 1 to 9999, which JSON cannot
                represent.
        """
        return self._message().to_dict()

    def to_json(self) -> str:
        """Returns the message as protobuf's `MessageToJson` does, with the secret if it has one.

        Raises:
            InvalidArgumentError: If a date is outside the years 1 to 9999, which JSON cannot
                represent.
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
        allow_from: Sequence[str] | None = None,
        rate: str | None = None,
        projects: Sequence[str] | None = None,
        domains: Sequence[str] | None = None,
    ) -> Pending[ApiKey]:
        """Creates an API key.

        Args:
            name: The name. The client id is derived from it: lower case, with every run of
                characters other than `0-9 a-z` replaced by one `-`.
            redirect_uris: The redirect URIs of the authorization code grant. Defaults to
                `http://localhost:8080/authorization-code/callback`.
            skip_default_policy_assignments: Attach no default policy. On a Gatekey server, the key
                gets no role.
            role: `admin`, `contributor`, `viewer` or `verifier`. Defaults to the server's default,
                `contributor`. Needs a Gatekey server.
            expires_at: The time from which the key is rejected, with a time zone. Defaults to
                never. Needs a Gatekey server.
            allow_from: The networks that the key may be used from, such as `10.0.0.0/8`. Defaults
                to any. Needs a Gatekey server, as all limits do.
            rate: How often the key may be used, such as `100/s`, `600/m` or `5000/h`. Defaults to
                any rate.
            projects: The Flyte projects that the gate admits the key for. Defaults to any.
            domains: The Flyte domains that the gate admits the key for. Defaults to any.

        Returns:
            The key with its secret. The server returns the secret only this once: store
            `encoded_credentials`.

        Raises:
            AlreadyExistsError: If the client id is taken.
            InvalidArgumentError: If a value breaks a rule. A name without an ASCII letter or digit
                fails without a request.
            ValueError: If the role is unknown, or `expires_at` has no time zone.

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
            allow_from=allow_from,
            rate=rate,
            projects=projects,
            domains=domains,
        )
        return Pending(call, cls._from_answer)

    @operation
    @classmethod
    def get(cls, client_id: str) -> Pending[ApiKey]:
        """Looks up an API key.

        Args:
            client_id: The client id of the key.

        Returns:
            The key, without a secret.

        Raises:
            NotFoundError: If the key does not exist.

        Example:
            key = ApiKey.get(client_id="ci-pipeline")
            print(key.client_name)
        """
        return Pending(client().get(client_id), cls._from_answer)

    @listing
    @classmethod
    def listall(cls, *, limit: int | None = 100) -> Callable[[], Pending[list[ApiKey] | None]]:
        """Lists API keys. Pages are fetched as the keys are read.

        Args:
            limit: The maximum number of keys. `None` lists all keys; 0 sends no request.

        Yields:
            The keys, in the server's order.

        Raises:
            OverflowError: If the limit is negative.
            TypeError: If the limit is not an integer.

        Example:
            for key in ApiKey.listall(limit=10):
                print(f"{key.client_id}: {key.client_name}")
        """
        if limit is not None:
            # A boolean is an integer in Python, but no number of keys.
            if isinstance(limit, bool) or not isinstance(limit, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"limit must be an int or None, not {type(limit).__name__}")
            if limit < 0:
                raise OverflowError("limit must not be negative; None lists all keys")
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
        """Changes the name or the redirect URIs of an API key.

        The other fields and the secrets stay as they are.

        The API has no field mask, so the key is looked up first and sent back whole. A change that
        another caller makes in between is lost.

        Args:
            client_id: The client id of the key.
            client_name: The new name. None or empty keeps the current name.
            redirect_uris: The new redirect URIs, which replace all current ones. None or empty
                keeps the current ones.

        Returns:
            The changed key, without a secret.

        Raises:
            NotFoundError: If the key does not exist.
            InvalidArgumentError: If a value breaks a rule.

        Example:
            key = ApiKey.update(client_id="ci-pipeline", client_name="deploy")
        """
        call = client().update(client_id, client_name=client_name, redirect_uris=redirect_uris)
        return Pending(call, cls._from_answer)

    @operation
    @classmethod
    def delete(cls, client_id: str) -> Pending[None]:
        """Deletes an API key permanently. A Gatekey server also revokes the key's tokens at once.

        Args:
            client_id: The client id of the key.

        Raises:
            NotFoundError: If the key does not exist.

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
        """Adds a secret to an API key, and retires its other secrets after a grace period.

        A key may rotate itself.

        Args:
            client_id: The client id of the key.
            grace: How long the current secrets stay valid, at most 90 days. None retires them at
                once, and revokes every token of the key.
            label: Free text stored with the new secret, at most 200 characters.
            expires_at: The time from which the new secret is rejected, with a time zone. Defaults
                to never.

        Returns:
            The key with its new secret. The server returns the secret only this once.

        Raises:
            NotFoundError: If the key does not exist.
            InvalidArgumentError: If the grace is too long, or `expires_at` is in the past.
            UnimplementedError: If the server is not a Gatekey server.
            ValueError: If the grace is negative, or `expires_at` has no time zone.
            TypeError: If the grace is not a `timedelta`.

        Example:
            key = ApiKey.rotate(client_id="ci-pipeline", grace=timedelta(hours=24))
            print(f"export FLYTE_API_KEY={key.encoded_credentials}")
        """
        from datetime import timedelta

        if grace is None:
            grace = timedelta()
        elif not isinstance(grace, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"grace must be a timedelta, such as timedelta(hours=24), not {type(grace).__name__}")
        elif grace < timedelta():
            raise ValueError("grace must not be negative")
        call = client().rotate(client_id, grace=grace, label=label, expires_at=_with_zone(expires_at))
        return Pending(call, cls._from_answer)

    @operation
    @classmethod
    def disable(cls, client_id: str) -> Pending[KeyDetails]:
        """Disables an API key: the server rejects the key, and revokes its tokens.

        Args:
            client_id: The client id of the key.

        Returns:
            The details of the disabled key.

        Raises:
            NotFoundError: If the key does not exist.
            UnimplementedError: If the server is not a Gatekey server.

        Example:
            assert ApiKey.disable(client_id="ci-pipeline").disabled_at is not None
        """
        return Pending(client().disable(client_id), _itself)

    @operation
    @classmethod
    def enable(cls, client_id: str) -> Pending[KeyDetails]:
        """Enables a disabled API key. Tokens from before it was disabled stay revoked.

        Args:
            client_id: The client id of the key.

        Returns:
            The details of the enabled key.

        Raises:
            NotFoundError: If the key does not exist.
            UnimplementedError: If the server is not a Gatekey server.

        Example:
            assert ApiKey.enable(client_id="ci-pipeline").disabled_at is None
        """
        return Pending(client().enable(client_id), _itself)

    @operation
    @classmethod
    def details(cls, client_id: str) -> Pending[KeyDetails]:
        """Looks up the details of an API key: role, dates, and secrets with their last use.

        Args:
            client_id: The client id of the key. A key may look up itself.

        Returns:
            The details of the key.

        Raises:
            NotFoundError: If the key does not exist.
            UnimplementedError: If the server is not a Gatekey server.

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
    # The native code rejects other types, with the other arguments.
    if date is not None and hasattr(date, "tzinfo"):
        if date.tzinfo is None:
            raise ValueError("expires_at needs a time zone, such as datetime.timezone.utc")
        if date.year < 1970:
            raise ValueError("expires_at must not be before 1970")
    return date


def _itself(details: KeyDetails) -> KeyDetails:
    return details


def _nothing(_: None) -> None:
    return None
