"""The routes, one module for each group of them.

To add a route, write its handler in a module of this package, an example in `http/openapi.py` if its problems have
none yet, and its name in tests/serving_api/test_openapi.py.
"""
