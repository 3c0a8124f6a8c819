"""`flyteplugins.union.remote.ApiKey` and the `api-key` commands of `flyte`, by Gatekey."""

from gatekey.api_key import ApiKey

__all__ = ["ApiKey"]
