"""An in-memory Bigtable in Python: the data and table admin services, as far as Foreserve uses them.

Where the official emulator accepts what production refuses (limits, names, half-applied rows), this one refuses.
One thread serves everything, so a row is read and changed atomically without locks.
"""
