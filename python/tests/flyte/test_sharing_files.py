"""Gatekey and flyteplugins-union installed by pip, in both orders, and either one uninstalled again."""

import json
from pathlib import Path

import pytest
from environments import OURS, UNION_OF, Environment

from support.gatekey import BINARY, Credentials, Server, attempt

REMOTE = "flyteplugins.union.remote"
AUTH = "flyteplugins.union.utils.auth"

# The smaller of the two; what is shared, pip treats alike in both.
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
    """The exit code of `gatekey.flyte.ownership`, and whose the class and `utils.auth` are."""
    code, told = environment.ownership()
    return code, told["modules"][REMOTE]["owner"], told["modules"][AUTH]["owner"]


def test_alone_everything_is_ours(flyte_and_ours: Environment) -> None:
    code, told = flyte_and_ours.ownership()

    assert code == 0
    assert {module["owner"] for module in told["modules"].values()} == {"gatekey-flyte"}
    assert {command["owner"] for command in told["commands"].values()} == {"gatekey-flyte"}
    assert told["advice"] == []
    assert flyte_and_ours.run(MODULE_OF_THE_CLASS) == "gatekey.api_key\n"


def test_installed_last_the_class_is_ours(theirs_then_ours: Environment) -> None:
    assert owners(theirs_then_ours) == (0, "gatekey-flyte", "gatekey-flyte")
    assert theirs_then_ours.run(MODULE_OF_THE_CLASS) == "gatekey.api_key\n"


def test_installed_first_the_class_is_theirs(ours_then_theirs: Environment) -> None:
    assert owners(ours_then_theirs) == (1, "flyteplugins-union", "flyteplugins-union")
    assert ours_then_theirs.run(MODULE_OF_THE_CLASS) == f"{REMOTE}._api_key\n"


def test_the_versions_of_all_that_takes_part_are_told(theirs_then_ours: Environment, generation: str) -> None:
    _, told = theirs_then_ours.ownership()

    versions = told["distributions"]
    assert list(versions) == ["gatekey", "gatekey-cli", "gatekey-flyte", "flyteplugins-union", "flyte", "union"]
    assert (versions["flyte"], versions["flyteplugins-union"]) == (generation, UNION_OF[generation])
    assert versions["gatekey"] == versions["gatekey-flyte"]
    assert versions["union"] is None


def test_for_people_the_same_is_told_in_words(ours_then_theirs: Environment) -> None:
    printed = ours_then_theirs.run("from gatekey.flyte.ownership import main; assert main([]) == 1")

    assert f"{REMOTE}: flyteplugins-union\n" in printed
    assert "flyte create api-key: gatekey-flyte\n" in printed
    assert "pip install --force-reinstall --no-deps gatekey-flyte==" in printed


def test_the_names_that_are_not_ours_come_from_their_own_modules(
    theirs_then_ours: Environment, ours_then_theirs: Environment
) -> None:
    names = json.loads(ours_then_theirs.run(ALL_NAMES))
    theirs = json.loads(ours_then_theirs.run(MODULES_OF_NAMES, *names))

    found = json.loads(theirs_then_ours.run(MODULES_OF_NAMES, *names))
    assert found == {**theirs, "ApiKey": "gatekey.api_key"}


def test_private_modules_are_imported_as_ever(theirs_then_ours: Environment) -> None:
    assert theirs_then_ours.run(IMPORT_A_MODULE) == f"{REMOTE}._api_key\n"


def test_a_name_that_nobody_has_is_told_whose_it_would_be(
    flyte_and_ours: Environment, theirs_then_ours: Environment, generation: str
) -> None:
    alone = "names other than ApiKey belong to flyteplugins-union, which is not installed"
    both = f"names other than ApiKey belong to flyteplugins-union, and {UNION_OF[generation]}, which is installed, has"

    for environment, whose in ((flyte_and_ours, alone), (theirs_then_ours, both)):
        imported = environment.run(IMPORT_A_NAME)
        assert imported.startswith(f"ImportError|{REMOTE}|cannot import name 'NoSuchThing' from '{REMOTE}': {whose}")
        read = environment.run(READ_A_NAME)
        assert read.startswith(f"AttributeError|NoSuchThing|module '{REMOTE}' has no attribute 'NoSuchThing': {whose}")


def listing(environment: Environment, server: Server, admin_key: Credentials) -> tuple[set[str], str]:
    """The keys that `flyte get api-key` lists, and what it warns of. Only our commands know such a key: it names a
    port."""
    env = {"FLYTE_API_KEY": admin_key.encoded_credentials, "GATEKEY_CA_FILE": str(server.ca_file)}
    done = environment.flyte("-of", "json-raw", "get", "api-key", "--limit", "10000", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return {key["clientId"] for key in json.loads(done.stdout)}, done.stderr


def test_our_commands_say_nothing_when_the_class_is_ours(
    theirs_then_ours: Environment, server: Server, admin_key: Credentials
) -> None:
    listed, warned = listing(theirs_then_ours, server, admin_key)

    assert "admin" in listed
    assert warned == ""


def test_our_commands_warn_in_one_line_when_the_class_is_theirs(
    ours_then_theirs: Environment, server: Server, admin_key: Credentials
) -> None:
    listed, warned = listing(ours_then_theirs, server, admin_key)

    assert "admin" in listed
    (warning,) = warned.splitlines()
    assert warning.startswith(f"Warning: {REMOTE}.ApiKey is that of flyteplugins-union here")


def test_our_commands_run_though_flyte_finds_theirs_later(
    theirs_below_ours: Environment, server: Server, admin_key: Credentials
) -> None:
    # Later, so that without our hooks theirs would take the place of ours.
    listed, _ = listing(theirs_below_ours, server, admin_key)
    assert "admin" in listed

    _, told = theirs_below_ours.ownership()
    assert {command["owner"] for command in told["commands"].values()} == {"gatekey-flyte"}


def test_a_package_of_theirs_in_another_folder_hides_ours_and_no_reinstallation_is_advised(
    theirs_below_ours: Environment,
) -> None:
    assert theirs_below_ours.run(MODULE_OF_THE_CLASS) == f"{REMOTE}._api_key\n"
    assert owners(theirs_below_ours) == (1, "flyteplugins-union", "flyteplugins-union")

    _, told = theirs_below_ours.ownership()
    assert "install both into the same environment" in told["advice"][0]


def test_the_commands_of_theirs_that_we_have_not_stay(theirs_then_ours: Environment, generation: str) -> None:
    helped = theirs_then_ours.flyte("get", "--help").stdout

    assert "api-key" in helped
    assert ("policy" in helped) == (generation == "2.12.1")


@pytest.fixture
def empty(tmp_path: Path) -> Environment:
    """An environment of the test's own, without Flyte."""
    return Environment.make(tmp_path / "venv")


def test_without_flyte_there_are_no_commands(empty: Environment) -> None:
    empty.install(*OURS)

    code, told = empty.ownership()
    assert code == 0
    assert {command["owner"] for command in told["commands"].values()} == {None}


@pytest.mark.parametrize("ours_is_last", [True, False], ids=["ours is last", "theirs is last"])
def test_uninstalling_theirs_takes_the_class_away_until_ours_is_reinstalled(
    empty: Environment, ours_is_last: bool
) -> None:
    for packages in ((UNION,), OURS) if ours_is_last else (OURS, (UNION,)):
        empty.install(*packages)
    empty.uninstall("flyteplugins-union")

    code, told = empty.ownership()
    assert (code, told["modules"][REMOTE]) == (1, {"owner": None, "file": None})
    assert told["distributions"]["flyteplugins-union"] is None
    advice = [line for line in told["advice"] if REMOTE in line]
    assert "is gone" in advice[0]

    _, _, package = advice[0].rpartition(" ")
    empty.reinstall(package)
    assert owners(empty) == (0, "gatekey-flyte", "gatekey-flyte")
    assert empty.run(MODULE_OF_THE_CLASS) == "gatekey.api_key\n"


@pytest.mark.parametrize("ours_is_last", [True, False], ids=["ours is last", "theirs is last"])
def test_the_advice_leads_from_either_owner_to_the_other(empty: Environment, ours_is_last: bool) -> None:
    for packages in ((UNION,), OURS) if ours_is_last else (OURS, (UNION,)):
        empty.install(*packages)
    last, first = ("gatekey-flyte", "flyteplugins-union") if ours_is_last else ("flyteplugins-union", "gatekey-flyte")
    assert owners(empty) == (0 if ours_is_last else 1, last, last)

    _, told = empty.ownership()
    _, _, package = told["advice"][0 if not ours_is_last else -1].rpartition(" ")
    assert package.startswith(first)
    empty.reinstall(package)
    assert owners(empty) == (1 if ours_is_last else 0, first, first)


def test_uninstalling_ours_leaves_theirs_to_be_reinstalled(empty: Environment) -> None:
    empty.install(UNION)
    empty.install(*OURS)
    _, told = empty.ownership()
    empty.uninstall("gatekey-flyte")

    shared = "flyteplugins/union/remote/__init__.py"
    (site_packages,) = (empty.directory / "lib").glob("*/site-packages")
    assert not (site_packages / shared).exists()
    # As the advice said that it would be.
    _, _, package = told["advice"][-1].rpartition(" ")
    empty.reinstall(package)
    assert (site_packages / shared).exists()


def test_a_file_that_somebody_changed_is_nobodys(empty: Environment) -> None:
    empty.install(*OURS)
    _, told = empty.ownership()
    file = Path(told["modules"][REMOTE]["file"])
    file.write_text(file.read_text() + "\nApiKey = None\n")

    code, told = empty.ownership()
    assert (code, told["modules"][REMOTE]) == (1, {"owner": None, "file": str(file)})
    assert str(file) in told["advice"][0]


def test_no_package_of_theirs_is_made_a_package_of_ours(empty: Environment) -> None:
    empty.install(*OURS)

    (site_packages,) = (empty.directory / "lib").glob("*/site-packages")
    files = {str(file.relative_to(site_packages)) for file in (site_packages / "flyteplugins").rglob("*.py")}
    assert files == {"flyteplugins/union/remote/__init__.py", "flyteplugins/union/utils/auth.py"}


def test_gatekey_flyte_is_found_in_another_folder_than_gatekey(empty: Environment, tmp_path: Path) -> None:
    # As with `pip install --user`, and with one package installed as editable.
    other = Environment.make(tmp_path / "other")
    other.install("gatekey-flyte")
    empty.install("gatekey")
    (folder,) = other.directory.glob("lib/python3.*/site-packages")

    said = empty.run("import gatekey.flyte.auth; print(gatekey.flyte.auth.__file__)", env={"PYTHONPATH": str(folder)})

    assert Path(said.strip()).is_relative_to(other.directory)


def doctor(environment: Environment) -> tuple[int, dict[str, str]]:
    """The exit code of `gatekey doctor python`, and how each step went."""
    done = attempt(BINARY, "doctor", "python", "--python", environment.python, "--output", "json")
    steps = json.loads(done.stdout)["steps"]
    return done.returncode, {step["step"]: step["state"] for step in steps}


def test_the_doctor_finds_nothing_wrong_where_all_is_ours(theirs_then_ours: Environment) -> None:
    code, steps = doctor(theirs_then_ours)

    assert code == 0
    assert set(steps.values()) == {"ok"}


def test_the_doctor_tells_whose_the_class_is(ours_then_theirs: Environment) -> None:
    done = attempt(BINARY, "doctor", "python", "--python", ours_then_theirs.python)

    assert done.returncode == 8
    assert f"{REMOTE} belongs to flyteplugins-union" in done.stdout
    assert "pip install --force-reinstall --no-deps gatekey-flyte==" in done.stdout


def test_the_doctor_tells_when_gatekey_flyte_is_gone(empty: Environment) -> None:
    code, steps = doctor(empty)

    assert code == 8
    assert (steps["packages"], steps["class"], steps["commands"]) == ("failed", "failed", "skipped")


def test_the_doctor_tells_when_there_is_no_interpreter(tmp_path: Path) -> None:
    code, steps = doctor(Environment(tmp_path / "nothing", None))

    assert code == 8
    assert steps["interpreter"] == "failed"
