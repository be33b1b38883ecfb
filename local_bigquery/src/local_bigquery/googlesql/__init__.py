"""GoogleSQL's functions on the emulator's DuckDB.

The emulator misreads many functions: division by zero is NULL, weeks begin on Monday, an overflow is infinite.
`rewrite` replaces them by macros with GoogleSQL's meaning, which `process` creates in the emulator's DuckDB.
"""
