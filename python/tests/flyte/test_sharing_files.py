"""Gatekey and flyteplugins-union, installed by pip in both orders and uninstalled again."""

import json
from pathlib import Path

import pytest
from environments import OURS, UNION_OF, Environment

from support.gatekey import BINARY, Credentials, Server, attempt

REMOTE = "flyteplugins.union.remote"
AUTH = "flyteplugins.union.utils.auth"

# The smaller version; pip treats the shared files alike in both.
UNION = f"flyteplugins-union=={UNION_OF['2.0.12']}"

MODULE_OF_THE_CLASS = f"from {REMOTE} import ApiKey; print(ApiKey.__module__)"
ALL_NAMES = f"import json, {REMOTE} as remote; print(json.dumps(remote.__all__))"
MODULES_OF_NAMES = f"""
import json, sys, {REMOTE} as remote
print(json.dumps({{name: getattr(remote, name).__module__ for name in sys.argv[1:]}}))
"""
IMPORT_A_NAME = f"""
try:
    from {REMOTE} import NoSuchThing
except ImportError as error:
    print(type(error).__name__, error.name, error, sep="|")
"""
READ_A_NAME = f"""
import {REMOTE} as remote
assert not hasattr(remote, "NoSuchThing")
try:
    remote.NoSuchThing
except AttributeError as error:
    print(type(error).__name__, error.name, error, sep="|")
"""
IMPORT_A_MODULE = f"from {REMOTE} import _api_key; print(_api_key.__name__)"


def owners(environment: Environment) -> tuple[int, str | None, str | None]:
    """Returns the exit code of `ownership`, and the owners of the class and of `utils.auth`."""
    code, report = environment.ownership()
    return code, report["modules"][REMOTE]["owner"], report["modules"][AUTH]["owner"]


def test_without_flyteplugins_union_everything_is_ours(flyte_and_ours: Environment) -> None:
    code, report = flyte_and_ours.ownership()

    assert code == 0
    assert {module["owner"] for module in report["modules"].values()} == {"gatekey-flyte"}
    assert {command["owner"] for command in report["commands"].values()} == {"gatekey-flyte"}
    assert report["advice"] == []
    assert flyte_and_ours.run(MODULE_OF_THE_CLASS) == "gatekey.api_key\n"


def test_installed_last_the_class_is_ours(theirs_then_ours: Environment) -> None:
    assert owners(theirs_then_ours) == (0, "gatekey-flyte", "gatekey-flyte")
    assert theirs_then_ours.run(MODULE_OF_THE_CLASS) == "gatekey.api_key\n"


def test_installed_first_the_class_is_theirs(ours_then_theirs: Environment) -> None:
    assert owners(ours_then_theirs) == (1, "flyteplugins-union", "flyteplugins-union")
    assert ours_then_theirs.run(MODULE_OF_THE_CLASS) == f"{REMOTE}._api_key\n"


def test_ownership_reports_the_installed_versions(theirs_then_ours: Environment, generation: str) -> None:
    _, report = theirs_then_ours.ownership()

    versions = report["distributions"]
    assert list(versions) == ["gatekey", "gatekey-cli", "gatekey-flyte", "flyteplugins-union", "flyte", "union"]
    assert (versions["flyte"], versions["flyteplugins-union"]) == (generation, UNION_OF[generation])
    assert versions["gatekey"] == versions["gatekey-flyte"]
    assert versions["union"] is None


def test_the_text_output_reports_the_same(ours_then_theirs: Environment) -> None:
    printed = ours_then_theirs.run("from gatekey.flyte.ownership import main; assert main([]) == 1")

    assert f"{REMOTE}: flyteplugins-union\n" in printed
    assert "flyte create api-key: gatekey-flyte\n" in printed
    assert "pip install --force-reinstall --no-deps gatekey-flyte==" in printed


def test_other_names_come_from_flyteplugins_union(theirs_then_ours: Environment, ours_then_theirs: Environment) -> None:
    names = json.loads(ours_then_theirs.run(ALL_NAMES))
    theirs = json.loads(ours_then_theirs.run(MODULES_OF_NAMES, *names))

    found = json.loads(theirs_then_ours.run(MODULES_OF_NAMES, *names))
    assert found == {**theirs, "ApiKey": "gatekey.api_key"}


def test_private_modules_can_be_imported(theirs_then_ours: Environment) -> None:
    assert theirs_then_ours.run(IMPORT_A_MODULE) == f"{REMOTE}._api_key\n"


def test_an_unknown_name_error_names_its_owner(
    flyte_and_ours: Environment, theirs_then_ours: Environment, generation: str
) -> None:
    missing = "names other than ApiKey belong to flyteplugins-union, which is not installed"
    installed = (
        f"names other than ApiKey belong to flyteplugins-union, and the installed version {UNION_OF[generation]} lacks"
    )

    for environment, owner in ((flyte_and_ours, missing), (theirs_then_ours, installed)):
        imported = environment.run(IMPORT_A_NAME)
        assert imported.startswith(f"ImportError|{REMOTE}|cannot import name 'NoSuchThing' from '{REMOTE}': {owner}")
        read = environment.run(READ_A_NAME)
        assert read.startswith(f"AttributeError|NoSuchThing|module '{REMOTE}' has no attribute 'NoSuchThing': {owner}")


def listing(environment: Environment, server: Server, admin_key: Credentials) -> tuple[set[str], str]:
    """Returns the keys that `flyte get api-key` lists, and its warnings.

    Only our commands can use this key, because its endpoint has a port.
    """
    env = {"FLYTE_API_KEY": admin_key.encoded_credentials, "GATEKEY_CA_FILE": str(server.ca_file)}
    done = environment.flyte("-of", "json-raw", "get", "api-key", "--limit", "10000", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return {key["clientId"] for key in json.loads(done.stdout)}, done.stderr


def test_commands_do_not_warn_about_gatekeys_class(
    theirs_then_ours: Environment, server: Server, admin_key: Credentials
) -> None:
    listed, warned = listing(theirs_then_ours, server, admin_key)

    assert "admin" in listed
    assert warned == ""


def test_commands_warn_if_the_class_is_theirs(
    ours_then_theirs: Environment, server: Server, admin_key: Credentials
) -> None:
    listed, warned = listing(ours_then_theirs, server, admin_key)

    assert "admin" in listed
    (warning,) = warned.splitlines()
    assert warning.startswith(f"Warning: {REMOTE}.ApiKey belongs to flyteplugins-union here")


def test_our_commands_run_even_if_theirs_load_later(
    theirs_below_ours: Environment, server: Server, admin_key: Credentials
) -> None:
    # Later, so that without our hooks their command would replace ours.
    listed, _ = listing(theirs_below_ours, server, admin_key)
    assert "admin" in listed

    _, report = theirs_below_ours.ownership()
    assert {command["owner"] for command in report["commands"].values()} == {"gatekey-flyte"}


def test_a_hidden_class_needs_a_shared_environment(
    theirs_below_ours: Environment,
) -> None:
    assert theirs_below_ours.run(MODULE_OF_THE_CLASS) == f"{REMOTE}._api_key\n"
    assert owners(theirs_below_ours) == (1, "flyteplugins-union", "flyteplugins-union")

    _, report = theirs_below_ours.ownership()
    assert "install both into the same environment" in report["advice"][0]


def test_their_other_commands_remain(theirs_then_ours: Environment, generation: str) -> None:
    helped = theirs_then_ours.flyte("get", "--help").stdout

    assert "api-key" in helped
    assert ("policy" in helped) == (generation == "2.12.1")


@pytest.fixture
def empty(tmp_path: Path) -> Environment:
    """A new environment, without Flyte."""
    return Environment.make(tmp_path / "venv")


def test_without_flyte_there_are_no_commands(empty: Environment) -> None:
    empty.install(*OURS)

    code, report = empty.ownership()
    assert code == 0
    assert {command["owner"] for command in report["commands"].values()} == {None}


@pytest.mark.parametrize("ours_is_last", [True, False], ids=["ours is last", "theirs is last"])
def test_uninstalling_theirs_removes_the_class(empty: Environment, ours_is_last: bool) -> None:
    for packages in ((UNION,), OURS) if ours_is_last else (OURS, (UNION,)):
        empty.install(*packages)
    empty.uninstall("flyteplugins-union")

    code, report = empty.ownership()
    assert (code, report["modules"][REMOTE]) == (1, {"owner": None, "file": None})
    assert report["distributions"]["flyteplugins-union"] is None
    advice = [line for line in report["advice"] if REMOTE in line]
    assert "is missing" in advice[0]

    _, _, package = advice[0].rpartition(" ")
    empty.reinstall(package)
    assert owners(empty) == (0, "gatekey-flyte", "gatekey-flyte")
    assert empty.run(MODULE_OF_THE_CLASS) == "gatekey.api_key\n"


@pytest.mark.parametrize("ours_is_last", [True, False], ids=["ours is last", "theirs is last"])
def test_the_advice_changes_the_owner(empty: Environment, ours_is_last: bool) -> None:
    for packages in ((UNION,), OURS) if ours_is_last else (OURS, (UNION,)):
        empty.install(*packages)
    last, first = ("gatekey-flyte", "flyteplugins-union") if ours_is_last else ("flyteplugins-union", "gatekey-flyte")
    assert owners(empty) == (0 if ours_is_last else 1, last, last)

    _, report = empty.ownership()
    _, _, package = report["advice"][0 if not ours_is_last else -1].rpartition(" ")
    assert package.startswith(first)
    empty.reinstall(package)
    assert owners(empty) == (1 if ours_is_last else 0, first, first)


def test_uninstalling_ours_leaves_theirs_to_be_reinstalled(empty: Environment) -> None:
    empty.install(UNION)
    empty.install(*OURS)
    _, report = empty.ownership()
    empty.uninstall("gatekey-flyte")

    shared = "flyteplugins/union/remote/__init__.py"
    (site_packages,) = (empty.directory / "lib").glob("*/site-packages")
    assert not (site_packages / shared).exists()
    # As the advice says.
    _, _, package = report["advice"][-1].rpartition(" ")
    empty.reinstall(package)
    assert (site_packages / shared).exists()


def test_a_changed_file_has_no_owner(empty: Environment) -> None:
    empty.install(*OURS)
    _, report = empty.ownership()
    file = Path(report["modules"][REMOTE]["file"])
    file.write_text(file.read_text() + "\nApiKey = None\n")

    code, report = empty.ownership()
    assert (code, report["modules"][REMOTE]) == (1, {"owner": None, "file": str(file)})
    assert str(file) in report["advice"][0]


def test_only_two_shared_files_are_installed(empty: Environment) -> None:
    empty.install(*OURS)

    (site_packages,) = (empty.directory / "lib").glob("*/site-packages")
    files = {str(file.relative_to(site_packages)) for file in (site_packages / "flyteplugins").rglob("*.py")}
    assert files == {"flyteplugins/union/remote/__init__.py", "flyteplugins/union/utils/auth.py"}


def test_each_package_declares_its_types(empty: Environment) -> None:
    empty.install(*OURS)

    (site_packages,) = (empty.directory / "lib").glob("*/site-packages")
    for package in ("gatekey", "gatekey/flyte", "flyteplugins/union/remote", "flyteplugins/union/utils"):
        assert (site_packages / package / "py.typed").exists(), package


def test_gatekey_flyte_may_be_in_another_folder(empty: Environment, tmp_path: Path) -> None:
    # As after `pip install --user`, or with one package installed as editable.
    other = Environment.make(tmp_path / "other")
    other.install("gatekey-flyte")
    empty.install("gatekey")
    (folder,) = other.directory.glob("lib/python3.*/site-packages")

    output = empty.run("import gatekey.flyte.auth; print(gatekey.flyte.auth.__file__)", env={"PYTHONPATH": str(folder)})

    assert Path(output.strip()).is_relative_to(other.directory)


def doctor(environment: Environment) -> tuple[int, dict[str, str]]:
    """Returns the exit code of `gatekey doctor python`, and the state of each step."""
    done = attempt(BINARY, "doctor", "python", "--python", environment.python, "--output", "json")
    steps = json.loads(done.stdout)["steps"]
    return done.returncode, {step["step"]: step["state"] for step in steps}


def test_the_doctor_accepts_gatekeys_class(theirs_then_ours: Environment) -> None:
    code, steps = doctor(theirs_then_ours)

    assert code == 0
    assert set(steps.values()) == {"ok"}


def test_the_doctor_reports_the_classs_owner(ours_then_theirs: Environment) -> None:
    done = attempt(BINARY, "doctor", "python", "--python", ours_then_theirs.python)

    assert done.returncode == 8
    assert f"{REMOTE} belongs to flyteplugins-union" in done.stdout
    assert "pip install --force-reinstall --no-deps gatekey-flyte==" in done.stdout


def test_the_doctor_reports_a_missing_gatekey_flyte(empty: Environment) -> None:
    code, steps = doctor(empty)

    assert code == 8
    assert (steps["packages"], steps["class"], steps["commands"]) == ("failed", "skipped", "skipped")
    done = attempt(BINARY, "doctor", "python", "--python", empty.python)
    assert "gatekey-flyte is not installed here" in done.stdout
    # Not advertised as if it were on PyPI.
    assert "pip install --find-links wheels gatekey-flyte" in done.stdout
    assert "uninstall" not in done.stdout


def test_the_doctor_reports_a_missing_interpreter(tmp_path: Path) -> None:
    code, steps = doctor(Environment(tmp_path / "nothing", None))

    assert code == 8
    assert steps["interpreter"] == "failed"
