"""The tables by their full name."""

from local_stack.bigtable.embedded.errors import NotFoundError
from local_stack.bigtable.embedded.tables import Table


class Database(dict[str, Table]):
    """Tables by `projects/P/instances/I/tables/T`; any project and instance will do."""

    def __missing__(self, name: str) -> Table:
        """Raises NotFoundError, which answers the request that named the table."""
        raise NotFoundError(f'table "{name}" not found')
