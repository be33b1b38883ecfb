from foreserve import operators
from foreserve_plugin import ForeservePlugin


def test_airflow_2_is_told_of_every_link_of_ours():
    classes = [found for found in vars(operators).values() if isinstance(found, type)]
    links = {type(link) for operator in classes for link in operator.operator_extra_links}
    ours = {link for link in links if link.__module__.startswith("foreserve.")}
    assert ours == {type(link) for link in ForeservePlugin.operator_extra_links}
