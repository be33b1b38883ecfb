"""The Python packages that tasks import, compared with those of the Airflow environment."""

from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deployment.shell import DeploymentError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


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
        raise DeploymentError(f"gcloud's output is no list of packages:\n{listing[:500]}")
    return {canonicalize_name(row[0]): row[1] for row in rows[ruler + 1 :] if len(row) > 1}


def require(installed: Mapping[str, str]) -> None:
    """Refuse an environment whose packages do not suit.

    Raises:
        DeploymentError: packages are missing or too old.
    """
    unsuitable = [
        f"{name} {installed.get(name, 'is missing')}, not {requirement.specifier}"
        for requirement in requirements()
        if (name := canonicalize_name(requirement.name)) not in installed
        or not requirement.specifier.contains(installed[name], prereleases=True)
    ]
    if unsuitable:
        raise DeploymentError(
            f"the Airflow environment has {'; '.join(unsuitable)}. In Terraform, set a newer image_version, or add "
            "missing packages to `packages` of the environment, and apply"
        )
