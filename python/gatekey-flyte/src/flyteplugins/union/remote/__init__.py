"""Union remote control plane objects, as Gatekey provides them."""

from gatekey.api_key import ApiKey

__all__ = ["ApiKey"]
