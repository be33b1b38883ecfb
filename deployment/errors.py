"""What stops a deployment."""


class DeploymentError(Exception):
    """A deployment cannot start, or a step of it failed; the message says what to do."""
