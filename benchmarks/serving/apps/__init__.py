"""What the service is measured against, as ASGI applications: each answers what the service would."""
