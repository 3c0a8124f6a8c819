"""The message `cloudidl.identity.App` and its enums, for protobuf's Python library.

They have a separate descriptor pool: the default pool may contain another package's copy of the
same files, and rejects a second one.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

from gatekey._native import DESCRIPTOR_SET

_FILES = ("google/protobuf/timestamp.proto", "identity/enums.proto", "identity/app_definition.proto")


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    files = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_SET).file}
    for name in _FILES:
        pool.AddSerializedFile(files[name].SerializeToString())
    return pool


_POOL = _pool()


def _message(name):
    made = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"cloudidl.identity.{name}"))
    # For pickle.
    made.__module__ = __name__
    return made


def _enum(name):
    return enum_type_wrapper.EnumTypeWrapper(_POOL.FindEnumTypeByName(f"cloudidl.identity.{name}"))


App = _message("App")
Profile = _message("Profile")
ApplicationType = _enum("ApplicationType")
GrantTypes = _enum("GrantTypes")
ResponseTypes = _enum("ResponseTypes")
TokenEndpointAuthMethod = _enum("TokenEndpointAuthMethod")
