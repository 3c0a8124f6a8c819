"""Union remote control plane objects, as Gatekey provides them."""

from gatekey.api_key import ApiKey

__all__ = ["ApiKey"]


def __getattr__(name: str) -> object:
    # The file of flyteplugins-union in this place, where that is installed, offers more than a key.
    from gatekey.flyte import other_names

    return other_names.find(name, __name__)
