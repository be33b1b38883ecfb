"""The ASGI middlewares around all routes but the lookup of one prediction, which does their work itself."""
