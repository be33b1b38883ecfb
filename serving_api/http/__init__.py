"""The HTTP API: routes, middleware, parameters, answers, problems and the OpenAPI document."""
