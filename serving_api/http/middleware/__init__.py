"""The ASGI middlewares that wrap every route but the lookup of one entity."""
