"""The examples in the documentation, as code."""

import inspect
import textwrap

# The calls in the documentation of Union's class.
OF_THE_PUBLIC_CLASS = """
api_key = ApiKey.create(name="ci-pipeline")
print(f"export FLYTE_API_KEY=\\"{api_key.encoded_credentials}\\"")
print(f"Client ID: {api_key.client_id}")
print(f"Client Secret: {api_key.client_secret}")
for key in ApiKey.listall(limit=10):
    print(f"{key.client_id}: {key.client_name}")
key = ApiKey.get(client_id="ci-pipeline")
print(key.client_name)
key = ApiKey.update(
    client_id="ci-pipeline",
    client_name="renamed-key"
)
ApiKey.delete(client_id="ci-pipeline")
"""


def example(documented: object) -> str:
    """Returns the code in a docstring."""
    text = inspect.cleandoc(documented.__doc__ or "")
    return textwrap.dedent(text.partition("Example:\n")[2])
