"""Union's remote control plane objects, as provided by Gatekey."""

from gatekey.api_key import ApiKey

__all__ = ["ApiKey"]


def __getattr__(name: str) -> object:
    # This file replaces that of flyteplugins-union, which has further names.
    from gatekey.flyte import other_names

    return other_names.find(name, __name__)
