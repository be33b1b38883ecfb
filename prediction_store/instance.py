"""Where the tables are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instance:
    """A Bigtable instance."""

    project: str
    instance: str

    @property
    def name(self) -> str:
        """Its full name."""
        return f"projects/{self.project}/instances/{self.instance}"

    def table(self, table: str) -> str:
        """The full name of one of its tables."""
        return f"{self.name}/tables/{table}"
