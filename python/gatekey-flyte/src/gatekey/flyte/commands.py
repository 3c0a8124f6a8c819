"""The commands `flyte create|get|update|rotate|delete api-key`.

They work with Flyte 2.0, and with 2.1 and later. Commands that flyteplugins-union has as well keep
its options, output and exit codes, and may have further options.
"""

# Flyte and its dependencies may not be installed, and have few types.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import rich_click as click
from rich.markup import escape
from rich.panel import Panel

import gatekey
from flyte.cli import _common as common
from gatekey._native import printable
from gatekey.flyte import auth, ownership

_JSON = ("json", "json-raw")


class _Duration(click.ParamType):
    """A duration such as `90d`, in days, hours, minutes and seconds, or `0`."""

    name = "time"

    _WRITTEN = re.compile(r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        written = self._WRITTEN.fullmatch("0s" if value == "0" else value)
        if written is None:
            raise click.BadParameter(f"{value!r} is not a duration; write 90d, 24h or 15m", ctx, param)
        days, hours, minutes, seconds = (int(number or 0) for number in written.groups())
        try:
            span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
            _ = _now() + span
        except OverflowError:
            raise click.BadParameter(f"{value!r} is too long; omit the option for no limit", ctx, param) from None
        return span


@click.command("api-key")
@click.option("--name", type=str, required=True, help="Name of the key; the client id is derived from it.")
@click.option(
    "--no-default-policies",
    "skip_default_policy_assignments",
    is_flag=True,
    help="Attach no default policies. On a Gatekey server, the key gets no role.",
)
@click.option(
    "--role",
    type=click.Choice(["admin", "contributor", "viewer", "verifier"]),
    help="Role of the key. Needs a Gatekey server.",
)
@click.option(
    "--expires-in",
    type=_Duration(),
    help="Time until the key expires, such as 90d or 12h. Needs a Gatekey server.",
)
@click.pass_obj
def create_api_key(
    cfg: common.CLIConfig,
    name: str,
    skip_default_policy_assignments: bool,
    role: str | None,
    expires_in: timedelta | None,
) -> None:
    """
    Create an API key for headless authentication.

    Prints the key for the environment variable FLYTE_API_KEY. It cannot be shown again. With `flyte
    -of json`, the key is the field encodedCredentials.

    Examples:

        $ flyte create api-key --name ci-pipeline

        $ flyte create api-key --name dashboard --role viewer --expires-in 90d
    """
    with _calls(cfg):
        key = gatekey.ApiKey.create(
            name,
            skip_default_policy_assignments=skip_default_policy_assignments,
            role=role,
            expires_at=None if expires_in is None else _now() + expires_in,
        )
    _show_secret(cfg, key, "API Key Created Successfully")


@click.command("api-key")
@click.argument("client-id", type=str, required=False)
@click.option("--limit", type=click.IntRange(min=0), default=100, help="Maximum number of keys to list.")
@click.pass_obj
def get_api_key(cfg: common.CLIConfig, client_id: str | None, limit: int) -> None:
    """
    Get or list API keys.

    With a CLIENT_ID, shows that key; otherwise lists all keys.

    Examples:

        $ flyte get api-key --limit 10

        $ flyte get api-key ci-pipeline
    """
    with _calls(cfg):
        keys = list(gatekey.ApiKey.listall(limit=limit)) if client_id is None else [gatekey.ApiKey.get(client_id)]
    # A single key is shown with all fields in every format.
    if client_id is not None or cfg.output_format in _JSON:
        _show_json(cfg, keys)
    elif keys:
        common.get_console().print(common.format("API Keys", map(_Row, keys), cfg.output_format))
    else:
        common.get_console().print("[yellow]No API keys found.[/yellow]")


@click.command("api-key")
@click.argument("client-id", type=str)
@click.option("--client-name", type=str, help="New name.")
@click.option(
    "--redirect-uri",
    "redirect_uris",
    type=str,
    multiple=True,
    help="New redirect URI, which replaces all current ones; may be repeated.",
)
@click.pass_obj
def update_api_key(
    cfg: common.CLIConfig, client_id: str, client_name: str | None, redirect_uris: tuple[str, ...]
) -> None:
    """
    Change the name or the redirect URIs of an API key.

    Examples:

        $ flyte update api-key ci-pipeline --client-name "Nightly builds"
    """
    if not client_name and not redirect_uris:
        raise click.UsageError("Nothing to change: give --client-name or --redirect-uri.")
    with _calls(cfg):
        key = gatekey.ApiKey.update(client_id, client_name=client_name, redirect_uris=redirect_uris)
    if cfg.output_format in _JSON:
        _show_json(cfg, [key])
    else:
        _show_success("updated", client_id)


@click.group("rotate")
def rotate() -> None:
    """
    Rotate secrets.
    """


@rotate.command("api-key")
@click.argument("client-id", type=str)
@click.option(
    "--grace",
    type=_Duration(),
    default="0",
    show_default=True,
    help="How long the current secrets stay valid, such as 24h; 0 retires them at once and revokes the key's tokens.",
)
@click.option("--yes", is_flag=True, help="Skip the confirmation prompt, which appears without a grace.")
@click.pass_obj
def rotate_api_key(cfg: common.CLIConfig, client_id: str, grace: timedelta, yes: bool) -> None:
    """
    Add a secret to an API key and retire its other secrets. Needs a Gatekey server.

    Prints the key with its new secret. It cannot be shown again.

    Examples:

        $ flyte rotate api-key ci-pipeline --grace 24h
    """
    if not grace and not yes:
        question = f"This revokes all current secrets and tokens of API key '{client_id}' at once. Rotate it?"
        click.confirm(question, abort=True)
    with _calls(cfg):
        key = gatekey.ApiKey.rotate(client_id, grace=grace)
    _show_secret(cfg, key, "API Key Rotated Successfully")


@click.command("api-key")
@click.argument("client-id", type=str)
@click.option("--yes", is_flag=True, help="Skip the confirmation prompt.")
@click.pass_obj
def delete_api_key(cfg: common.CLIConfig, client_id: str, yes: bool) -> None:
    """
    Delete an API key permanently. A Gatekey server also revokes its tokens at once.

    Examples:

        $ flyte delete api-key ci-pipeline --yes
    """
    if not yes:
        click.confirm(f"Are you sure you want to delete API key '{client_id}'?", abort=True)
    with _calls(cfg):
        gatekey.ApiKey.delete(client_id)
    _show_success("deleted", client_id)


_COMMANDS = {
    "create": create_api_key,
    "get": get_api_key,
    "update": update_api_key,
    "delete": delete_api_key,
}


def keep_api_key(group: click.Group) -> click.Group:
    """A hook on Flyte's groups, which restores our command.

    Flyte adds commands in the order of a directory listing, so another package's command may
    replace ours on one machine and not on the next. Hooks run after all commands are added.
    """
    if group.name in _COMMANDS:
        group.add_command(_COMMANDS[group.name], name="api-key")
    return group


@contextmanager
def _calls(cfg: common.CLIConfig) -> Generator[None]:
    """Sets the server and the credentials for calls, and reports errors as one sentence."""
    _warn_if_replaced()
    try:
        _init(cfg)
        yield
    except (gatekey.Error, ValueError) as error:
        raise click.ClickException(_printable(str(error))) from error


def _init(cfg: common.CLIConfig) -> None:
    api_key = os.environ.get("FLYTE_API_KEY")
    if api_key:
        # Not by Flyte, which cannot read a key whose endpoint has a port.
        platform = cfg.config.platform
        own = auth.decode_app_client_credentials(api_key).endpoint
        endpoint = cfg.endpoint or own
        if _host(endpoint) not in (_host(own), _host(os.environ.get("GATEKEY_ENDPOINT", own))):
            raise click.ClickException(
                f"the secret in FLYTE_API_KEY is for {_host(own)}, so it is not sent to {_host(endpoint)}; if it "
                "belongs there as well, set GATEKEY_ENDPOINT to that server"
            )
        if platform.insecure if cfg.insecure is None else cfg.insecure:
            endpoint = re.sub(r"^(dns:///|http://|(?!https://))", "http://", endpoint)
        gatekey.init(endpoint, api_key=api_key, ca_file=platform.ca_cert_file_path)
        return
    try:
        # Keys do not belong to a project or domain.
        cfg.init(project="", domain="")
    except Exception as error:
        # Flyte raises unrelated classes of exceptions for invalid settings.
        raise click.ClickException(f"Flyte cannot be initialized: {error}") from error


def _host(endpoint: str) -> str:
    """Returns the host of an endpoint. All loopback hosts are this machine."""
    host = re.sub(r"^(https?://|dns:///)|/+$", "", endpoint.strip(), flags=re.IGNORECASE)
    host = re.sub(r":\d+$", "", host).rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host
    # IPv6 can write an IPv4 address, as ::ffff:127.0.0.1.
    address = getattr(address, "ipv4_mapped", None) or address
    return "localhost" if address.is_loopback else str(address)


def _warn_if_replaced() -> None:
    if ownership.module(ownership.REMOTE).owner == ownership.THEIRS:
        message = (
            f"Warning: {ownership.REMOTE}.ApiKey belongs to {ownership.THEIRS} here, not to Gatekey; "
            "`python -m gatekey.flyte.ownership` reports how to change that."
        )
        click.echo(message, err=True)


def _show_secret(cfg: common.CLIConfig, key: gatekey.ApiKey, title: str) -> None:
    if cfg.output_format in _JSON:
        _show_json(cfg, [key], encodedCredentials=key.encoded_credentials)
        return
    console = common.get_console()
    sign = "" if console.options.ascii_only else "⚠️  "
    text = (
        f"[green bold]Client ID:[/green bold] {escape(_printable(key.client_id))}\n\n"
        f"[yellow bold]{sign}The following API key will only be shown once. Be sure to keep it safe![/yellow bold]\n\n"
        "Configure your headless CLI by setting the following environment variable:"
    )
    console.print(Panel.fit(text, title=f"[bold]{title}[/bold]", border_style="green"))
    # Outside the frame, which would wrap it into lines that cannot be copied.
    click.echo(f'export FLYTE_API_KEY="{key.encoded_credentials}"')
    parts = auth.decode_app_client_credentials(str(key.encoded_credentials))
    port = re.search(r":(\d+)$", parts.endpoint)
    if port is None:
        return
    of_flyte = replace(parts, endpoint=parts.endpoint.removesuffix(port[0]))
    click.echo(
        f"# Gatekey's tools read that key. Flyte's other tools drop the port {port[1]} from it: give them this\n"
        f"# key and --endpoint {parts.endpoint}\n"
        f'# export FLYTE_API_KEY="{auth.encode_app_client_credentials(of_flyte)}"'
    )


def _show_json(cfg: common.CLIConfig, keys: list[gatekey.ApiKey], **more: Any) -> None:
    values = [{**key.to_dict(), **more} for key in keys]
    if cfg.output_format == "json-raw":
        click.echo(json.dumps(values))
    else:
        # Flyte's JSON is Python's notation, in color. Names are free text, so no text may count as
        # markup.
        console = common.get_console()
        console.print(common.format("", values, "json"), markup=False, emoji=False, soft_wrap=True)


def _show_success(verb: str, client_id: str) -> None:
    console = common.get_console()
    sign = "" if console.options.ascii_only else "[green]✓[/green] "
    shown = escape(_printable(client_id))
    console.print(f"{sign}Successfully {verb} API key: [cyan]{shown}[/cyan]", soft_wrap=True)


class _Row:
    """A key as a row of Flyte's tables, whose cells are markup."""

    def __init__(self, key: gatekey.ApiKey) -> None:
        self._key = key

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:
        for column, value in self._key.__rich_repr__():
            yield column, escape(_printable(value))


def _printable(text: str) -> str:
    """Escapes characters that control a terminal, are invisible, or change the direction of text."""
    # Arguments of the command may contain bytes that are not text.
    return printable(text.encode("utf-8", "backslashreplace").decode())


def _now() -> datetime:
    return datetime.now(timezone.utc)
