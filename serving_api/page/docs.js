// Swagger UI on the service's own OpenAPI document. No validator badge, which would ask a server elsewhere.

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
});
