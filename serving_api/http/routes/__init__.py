"""The routes, one module for each group of them. CONTRIBUTING.md tells how to add one."""
