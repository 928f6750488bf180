"""What docs/security.md says about the packages of the image is true of the lock: their number and their licences."""

import re
from importlib.metadata import metadata

import pytest
from packaging.requirements import Requirement

LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
FAMILIES = ("MIT", "Apache", "BSD", "ISC", "PSF", "Python-2.0", "Python Software Foundation", "MPL", "Mozilla", "LGPL")
# Those of which the docs name the packages.
NOT_PERMISSIVE = ("MPL", "Mozilla", "LGPL")


@pytest.fixture(scope="module")
def shipped(repository):
    """The packages of the image on Linux."""
    lines = (repository / "deploy" / "requirements.lock").read_text().splitlines()
    wanted = [Requirement(line.rstrip(" \\")) for line in lines if re.match("[a-z]", line)]
    return sorted(one.name for one in wanted if not one.marker or one.marker.evaluate(LINUX))


@pytest.fixture(scope="module")
def told(repository):
    """The section of docs/security.md."""
    _, _, section = (repository / "docs" / "security.md").read_text().partition("## What it is made of")
    return section.partition("\n## ")[0]


def licence_of(name):
    """What a package's own metadata says: the expression, the classifiers, or the first line of the free text."""
    found = metadata(name)
    classifiers = [one for one in found.get_all("Classifier", []) if one.startswith("License ::")]
    return found.get("License-Expression") or " ".join(classifiers) or (found.get("License") or "").split("\n")[0]


def test_the_number_of_components_is_current(shipped, told):
    assert f"{len(shipped)} components on Linux" in told


def test_every_licence_is_of_a_family_that_is_named(shipped, told):
    licences = {name: licence_of(name) for name in shipped}
    nameless = {name for name, licence in licences.items() if not licence}
    assert all(name in told for name in nameless), nameless
    unknown = {
        name: licence
        for name, licence in licences.items()
        if licence and not any(family in licence for family in FAMILIES)
    }
    assert unknown == {}


def test_packages_under_a_licence_with_duties_are_named(shipped, told):
    found = [name for name in shipped if any(family in licence_of(name) for family in NOT_PERMISSIVE)]
    assert found
    assert [name for name in found if name not in told] == []
