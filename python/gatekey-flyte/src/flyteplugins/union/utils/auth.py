"""Encoding and decoding of API keys, as provided by Gatekey."""

from gatekey.flyte.auth import (
    AppClientCredentials,
    decode_app_client_credentials,
    encode_app_client_credentials,
    is_serverless_endpoint,
)

__all__ = [
    "AppClientCredentials",
    "decode_app_client_credentials",
    "encode_app_client_credentials",
    "is_serverless_endpoint",
]
