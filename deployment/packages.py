"""The Python packages that tasks import, compared with those of the Airflow environment."""

from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deployment.commands import DeploymentError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
BEAM = "apache-beam"


def requirements() -> list[Requirement]:
    """Return the packages that tasks import, including those for launching Beam jobs."""
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def parse_list(listing: str) -> dict[str, str]:
    """Return the versions by package from the output of `pip list`.

    Raises:
        DeploymentError: the output has another form.
    """
    rows = [line.split() for line in listing.splitlines()]
    ruler = next((index for index, row in enumerate(rows) if row and set("".join(row)) == {"-"}), None)
    if ruler is None:
        raise DeploymentError(
            f"the packages of the Airflow environment cannot be read from gcloud's output:\n{listing[:500]}"
        )
    return {canonicalize_name(row[0]): row[1] for row in rows[ruler + 1 :] if len(row) > 1}


def beam_version(installed: Mapping[str, str]) -> str:
    """Return the version of Beam that launches the jobs.

    Raises:
        DeploymentError: Beam is not installed.
    """
    if BEAM not in installed:
        raise DeploymentError(
            f"the Airflow environment has no {BEAM}, which launches the jobs. Add it with a version: gcloud composer "
            f"environments update ENVIRONMENT --location=LOCATION --update-pypi-package='{BEAM}[gcp]==VERSION'"
        )
    return installed[BEAM]


def missing(installed: Mapping[str, str], custom: Mapping[str, str], image: str) -> dict[str, str]:
    """Return the packages to add to an environment or to set to another version, as specifiers by name.

    Args:
        installed: the versions of all packages in the environment.
        custom: the specifiers, by name, of packages that were added to its image.
        image: the version of the image, for errors.

    Raises:
        DeploymentError: the image has a package with an unsuitable version.
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
            "in Terraform); replacing packages of the image itself breaks it sooner or later"
        )
    return wanted
