"""The customers as scikit-learn gets them."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def table(rows, customers):
    """The customers, in the order of their ids."""
    return rows(f"SELECT * FROM {customers} ORDER BY id")


@pytest.fixture(scope="session")
def matrix(table):
    """Their features: standardised numbers, and a column for each category."""
    column = {name: [row[name] for row in table] for name in table[0]}
    return np.column_stack(
        [
            _standardised(column["recency"]),
            _standardised(column["frequency"]),
            *_one_hot(column["city"]),
            *_one_hot(column["member"]),
        ]
    )


def _standardised(values):
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    numbers[np.isnan(numbers)] = np.nanmean(numbers)
    return (numbers - numbers.mean()) / numbers.std()


def _one_hot(values):
    return [[float(value == category) for value in values] for category in sorted(set(values), key=str)]
