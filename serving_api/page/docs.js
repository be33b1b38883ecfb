// Swagger UI for the OpenAPI document, without the validator badge, which would send a request to another server.

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
});
