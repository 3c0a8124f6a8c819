"""Flyte behind the gate, called by the public clients."""

from flyte.remote import Project

from support.gatekey import Credentials, Server
from support.public_clients import log_in, login_refused, refused


def test_flyte_sees_the_caller_and_no_credential(admin: Credentials) -> None:
    (project,) = Project.listall()

    assert project.pb2.name == admin.client_id
    assert project.pb2.description == ""


def test_a_viewer_may_read_and_not_write(trusted_server: Server, admin: Credentials, name: str) -> None:
    log_in(trusted_server.create_with_role(admin, name, "viewer").encoded_credentials)

    (project,) = Project.listall()
    assert project.pb2.name == name
    with refused("PERMISSION_DENIED", "role admin is needed"):
        Project.create(id="other", name="other")


def test_a_deleted_key_is_refused_at_once(trusted_server: Server, admin: Credentials, name: str) -> None:
    key = trusted_server.create(admin, name)
    log_in(key.encoded_credentials)
    (project,) = Project.listall()
    assert project.pb2.name == name

    trusted_server.command(admin, "key", "delete", name, "--yes")
    with login_refused():
        list(Project.listall())
