"""How much is asked of the lookup service. Apart from the asking: DAG files import this when they are parsed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """How much to ask: `requests` in all, `rate` of them each second, each given up after `timeout` seconds."""

    requests: int
    rate: float
    timeout: float = 10.0
