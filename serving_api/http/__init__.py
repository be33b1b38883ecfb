"""The HTTP API: routes, middleware, and the parts of requests and answers that they share."""
