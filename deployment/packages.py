"""Do the environment's Python packages agree with what tasks import?"""

from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deployment.errors import DeploymentError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
BEAM = "apache-beam"


def requirements() -> list[Requirement]:
    """What tasks and the launching of Beam jobs import."""
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def parse_list(listing: str) -> dict[str, str]:
    """Versions by package, from what `pip list` prints.

    Raises:
        DeploymentError: it has no packages.
    """
    rows = [line.split() for line in listing.splitlines()]
    ruler = next((index for index, row in enumerate(rows) if row and set("".join(row)) == {"-"}), None)
    if ruler is None:
        raise DeploymentError(f"the environment's packages cannot be read from what gcloud printed:\n{listing[:500]}")
    return {canonicalize_name(row[0]): row[1] for row in rows[ruler + 1 :] if len(row) > 1}


def beam_version(installed: Mapping[str, str]) -> str:
    """The version of Beam that jobs are launched with.

    Raises:
        DeploymentError: there is none.
    """
    if BEAM not in installed:
        raise DeploymentError(
            f"the Airflow environment has no {BEAM}, which launches the jobs. Add it with a version: gcloud composer "
            f"environments update ENVIRONMENT --location=LOCATION --update-pypi-package='{BEAM}[gcp]==VERSION'"
        )
    return installed[BEAM]


def missing(installed: Mapping[str, str], custom: Mapping[str, str], image: str) -> dict[str, str]:
    """Packages that have to be added to an environment, or set to another version: specifiers by name.

    Args:
        installed: versions of all packages in the environment.
        custom: those that were added to its image: specifiers by name.
        image: the image's version, for errors.

    Raises:
        DeploymentError: a package that belongs to the image is of a version that does not do. Says which, and why.
    """
    added = {canonicalize_name(name): specifier for name, specifier in custom.items()}
    wanted: dict[str, str] = {}
    conflicts: list[str] = []
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        version = installed.get(name)
        if version is not None and requirement.specifier.contains(version, prereleases=True):
            continue
        if version is None or name in added:
            extras, _, _ = added.get(name, "").rpartition("]")
            wanted[name] = f"{extras}]{requirement.specifier}" if extras else str(requirement.specifier)
        else:
            conflicts.append(f"{name} {version}; tasks need {requirement.specifier}")
    if conflicts:
        raise DeploymentError(
            f"{image} comes with {' and with '.join(conflicts)}. Move the environment to a newer image (image_version "
            "in Terraform); replacing what an image comes with breaks it sooner or later"
        )
    return wanted
