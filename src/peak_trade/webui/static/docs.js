"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger",
  deepLinking: true,
  // Swagger would otherwise ask a validator on the internet.
  validatorUrl: null,
});
