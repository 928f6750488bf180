"""What holds the house together: one-way imports, pure parts that do not know Dagster, nothing private in git."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "snowplow_posthog_dagster"

# Each part and what it may import besides itself and errors.py.
MAY_IMPORT = {
    "snowplow": set(),
    "mapping": {"snowplow"},
    "posthog": {"mapping"},
    "storage": {"posthog", "mapping", "snowplow"},
    "loading": {"storage", "posthog", "mapping", "snowplow", "settings"},
    "generator": {"snowplow"},
    "sandbox": {"generator", "loading", "storage", "posthog", "mapping", "snowplow", "settings"},
    "settings": {"mapping", "storage", "posthog", "partitions", "setting_types"},
    "setting_types": {"storage"},
    "partitions": {"settings"},
    "resources": {"loading", "storage", "posthog", "mapping", "snowplow", "settings"},
    "assets": {"resources", "loading", "storage", "posthog", "mapping", "snowplow", "settings", "partitions"},
    "automation": {
        "assets",
        "resources",
        "loading",
        "storage",
        "posthog",
        "mapping",
        "snowplow",
        "settings",
        "partitions",
    },
}
ON_TOP = {"cli", "commands", "definitions"}  # nothing below imports these
WITHOUT_DAGSTER = {"snowplow", "mapping", "posthog", "storage", "loading", "sandbox", "generator", "errors"}
LARGEST_MODULE = 400


def modules() -> list[Path]:
    return sorted((REPOSITORY / PACKAGE).rglob("*.py"))


def part(path: Path) -> str:
    """`mapping` for mapping/session.py, `cli` for cli.py."""
    first = path.relative_to(REPOSITORY / PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file, by its absolute name."""
    package = path.relative_to(REPOSITORY).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            stem = ".".join(filter(None, [base, node.module]))
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def own_part(name: str) -> str | None:
    """`mapping` for snowplow_posthog_dagster.mapping.session.x, None for other packages."""
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_imports_run_one_way(name):
    allowed = MAY_IMPORT[name] | {name, "errors", "__version__"}
    wrong = [
        f"{path.relative_to(REPOSITORY)} imports {target}"
        for path in modules()
        if part(path) == name
        for target in imported(path)
        if own_part(target) not in {None, *allowed}
    ]
    assert wrong == []


def test_every_part_of_the_package_has_its_place():
    known = {*MAY_IMPORT, *WITHOUT_DAGSTER, *ON_TOP, "__init__", "__main__"}
    assert {part(path) for path in modules()} - known == set()


def test_only_the_cli_and_the_tests_know_the_sandbox():
    wrong = [
        path
        for path in modules()
        if part(path) not in {"cli", "commands", "sandbox"} and "sandbox" in map(own_part, imported(path))
    ]
    assert wrong == []


def test_the_pure_parts_do_not_import_dagster():
    wrong = [
        f"{path.relative_to(REPOSITORY)} imports {target}"
        for path in modules()
        if part(path) in WITHOUT_DAGSTER
        for target in imported(path)
        if target.partition(".")[0].startswith("dagster")
    ]
    assert wrong == []


@pytest.mark.parametrize("statement", ["", ".mapping", ".snowplow", ".posthog", ".storage", ".loading", ".generator"])
def test_importing_a_pure_part_does_not_load_dagster(statement):
    if statement and not (REPOSITORY / PACKAGE / statement[1:]).is_dir():
        pytest.skip(f"{PACKAGE}{statement} does not exist")
    program = f"import sys, {PACKAGE}{statement}; print('dagster' in sys.modules, 'boto3' in sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    assert printed[0] == "False"
    assert printed[1] == "False" or statement in {".storage", ".loading"}


def test_modules_stay_small_enough_to_read():
    lengths = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > LARGEST_MODULE} == {}


def test_dg_and_the_workspace_agree_on_the_code_location():
    dg = tomllib.loads((REPOSITORY / "dg.toml").read_text())
    module = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert dg["project"]["code_location_name"] == module["location_name"]
    assert module["module_name"] == f"{dg['project']['root_module']}.definitions"


def test_pyproject_leaves_the_workspace_file_alive():
    """Any of these tables makes a bare `dagster dev` ignore workspace.yaml."""
    assert {"dagster", "dg"} & set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]) == set()


def tracked() -> list[Path]:
    """The files in git; without git (a source archive) nothing can be said."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs the git checkout")
    paths = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_lock_names_a_host():
    forbidden = re.compile(r"https?://|file://|--index-url|--extra-index-url|--find-links|index-url *=")
    found = {
        f"{path.relative_to(REPOSITORY)}:{number}"
        for path in tracked()
        if path.suffix == ".lock" or path.name in {"pyproject.toml", "dg.toml", "package-lock.json"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if forbidden.search(line)
    }
    assert found == set()


def test_no_tracked_file_names_this_machine():
    """Neither where this checkout lies nor the home of who works on it."""
    everyones = {"/", "/tmp", "/root", "/home", "/app", "/src", "/opt"}
    places = [f"{place}/".encode() for place in {str(REPOSITORY.parent), str(Path.home())} - everyones]
    found = [
        str(path.relative_to(REPOSITORY)) for path in tracked() if any(place in path.read_bytes() for place in places)
    ]
    assert found == []


def test_no_tracked_file_is_larger_than_two_megabytes():
    assert [path for path in tracked() if path.stat().st_size > 2 * 1024 * 1024] == []
