"""The time and the memory of whole refreshes, by the number of entities and by the share of them that changed."""
