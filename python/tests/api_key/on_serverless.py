"""Serves at a serverless endpoint, creates a key and looks it up in both forms.

Prints the keys as JSON.

Arguments: the data directory, and the host name of the endpoint, which resolves to this machine.
"""

import asyncio
import json
import sys
from pathlib import Path

import gatekey
from gatekey import ApiKey
from support.gatekey import BINARY, Server, background

data_dir, host = Path(sys.argv[1]), sys.argv[2]
url = f"https://{host}"
command = (BINARY, "serve", "--data-dir", data_dir, "--listen", "127.0.0.1:443", "--log-format", "json")
with background(*command, "--public-url", url, "--organization", "acme") as process:
    process.lines_up_to('"serving"')
    server = Server(url=url, data_dir=data_dir)
    admin = server.init("admin")
    gatekey.init(url, client_id="admin", client_secret=admin.client_secret, ca_file=server.ca_file)
    keys = [
        ApiKey.create("CI Pipeline"),
        ApiKey.get("serverless-1-acme-ci-pipeline"),
        asyncio.run(ApiKey.get.aio("serverless-1-acme-ci-pipeline")),
        *[key for key in ApiKey.listall() if key.client_id != "admin"],
    ]
names = ("client_id", "client_name", "client_secret", "organization", "encoded_credentials")
print(json.dumps([{name: getattr(key, name) for name in names} for key in keys]))
