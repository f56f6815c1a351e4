// Shows the API's document. Swagger UI itself is served from the installed package.
window.ui = SwaggerUIBundle({
  url: "/api/v1/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "none",
  displayRequestDuration: true,
  filter: true,
  tagsSorter: "alpha",
  // Neither a badge nor a validator of somebody else's: the page talks to this server alone.
  validatorUrl: null,
});
