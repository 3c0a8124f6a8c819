"""Gatekey beside Flyte's own packages: `flyteplugins.union.remote.ApiKey` and the commands of `flyte`."""

from gatekey.api_key import ApiKey

__all__ = ["ApiKey"]
