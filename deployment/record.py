"""What was deployed last: kept in the environment's bucket, so that a deployment takes away only what one brought."""

from pydantic import BaseModel, ConfigDict, ValidationError

from deployment.errors import DeploymentError

PATH = "data/foreserve/deployment.json"


class Record(BaseModel):
    """A deployment."""

    model_config = ConfigDict(frozen=True)

    commit: str = ""
    files: list[str] = []
    variables: list[str] = []

    def to_bytes(self) -> bytes:
        """The object's content."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def parse(text: str, url: str) -> Record:
    """The inverse of `Record.to_bytes`.

    Raises:
        DeploymentError: it is none.
    """
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise DeploymentError(
            f"{url} is not what a deployment left there: {error.errors()[0]['msg']}. Restore it; without it, files "
            "that an earlier deployment brought cannot be told from those of others"
        ) from None
