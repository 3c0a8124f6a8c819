"""Flyte behind the gate, called by the public clients."""

import pytest
from flyte.remote import ActionDetails, Project, Run, Secret

from support.flyte_stand_in import OUTAGE, Flyte
from support.gatekey import Credentials, Server
from support.public_clients import log_in, login_refused, refused


def seen_by_flyte() -> str:
    """The caller, as Flyte sees it."""
    (project,) = Project.listall()
    name: str = project.pb2.name
    return name


def test_flyte_sees_the_caller_and_no_credential(admin: Credentials) -> None:
    (project,) = Project.listall()

    assert project.pb2.name == admin.client_id
    assert project.pb2.description == ""


def test_no_call_reaches_flyte_without_a_caller(backend: Flyte, admin: Credentials) -> None:
    # The clients send their first call without a token, and Flyte alone would answer it.
    before = len(backend.callers)
    log_in(admin.encoded_credentials)

    assert seen_by_flyte() == admin.client_id
    assert {caller for _, caller in backend.callers[before:]} == {admin.client_id}


def test_a_viewer_may_read_and_not_write(trusted_server: Server, admin: Credentials, name: str) -> None:
    log_in(trusted_server.create_with_role(admin, name, "viewer").encoded_credentials)

    assert seen_by_flyte() == name
    with refused("PERMISSION_DENIED", "role admin is needed"):
        Project.create(id="other", name="other")


def test_an_admin_creates_a_project(admin: Credentials, name: str) -> None:
    Project.create(id=name, name="Created")

    project = Project.get(name).pb2
    assert (project.name, project.description) == ("Created", admin.client_id)


def test_a_contributor_creates_a_secret(trusted_server: Server, admin: Credentials, name: str) -> None:
    # The newer client asks Flyte for the address of the cluster, and sends the secret there.
    log_in(trusted_server.create_with_role(admin, name, "contributor").encoded_credentials)
    Secret.create(name=name, value="value")

    assert name in [secret.name for secret in Secret.listall()]


def test_a_key_without_a_role_sees_nothing(trusted_server: Server, admin: Credentials, name: str) -> None:
    log_in(trusted_server.create_without_role(admin, name).encoded_credentials)

    with refused("PERMISSION_DENIED", "role viewer is needed"):
        list(Project.listall())


def test_flyte_records_who_started_a_run(admin: Credentials) -> None:
    (run,) = Run.listall()

    assert run.pb2.action.metadata.executed_by.user.id.subject == admin.client_id


def test_a_watch_ends_with_its_key(trusted_server: Server, admin: Credentials, name: str) -> None:
    log_in(trusted_server.create(admin, name).encoded_credentials)
    (run,) = Run.listall()
    watched = iter(ActionDetails.watch(run.pb2.action.id))
    assert next(watched).pb2.status.phase == run.pb2.action.status.phase

    trusted_server.command(admin, "key", "delete", name, "--yes")
    with refused("UNAUTHENTICATED", "the token's key was deleted"):
        next(watched)


def test_a_disabled_key_works_once_enabled(trusted_server: Server, admin: Credentials, name: str) -> None:
    log_in(trusted_server.create(admin, name).encoded_credentials)
    assert seen_by_flyte() == name

    trusted_server.command(admin, "key", "disable", name)
    with login_refused():
        list(Project.listall())
    trusted_server.command(admin, "key", "enable", name)
    assert seen_by_flyte() == name


def test_a_deleted_key_is_refused_at_once(trusted_server: Server, admin: Credentials, name: str) -> None:
    log_in(trusted_server.create(admin, name).encoded_credentials)
    assert seen_by_flyte() == name

    trusted_server.command(admin, "key", "delete", name, "--yes")
    with login_refused():
        list(Project.listall())


@pytest.mark.generation("0.19.1")
def test_an_outage_of_flyte_is_unavailable(backend: Flyte, admin: Credentials) -> None:
    # A client that reads it as a refusal would log in again.
    with refused("UNAVAILABLE"):
        Project.get(OUTAGE)

    assert backend.outages > 0
    assert seen_by_flyte() == admin.client_id
