"""The embedded Bigtable: an in-memory Bigtable in Python, for machines without Google's emulator.

It has the methods of the data API and of the table admin API that Foreserve uses. It refuses what production refuses,
also where Google's emulator accepts it: limits, names, rows with invalid mutations.

One thread serves all requests, so reads and changes of a row are atomic without locks.
"""
