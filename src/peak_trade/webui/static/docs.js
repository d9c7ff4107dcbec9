"use strict";
// Swagger has a dark scheme of its own, by a class of the page.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// It leaves fields and buttons without a name, and text that scrolls out of the keyboard's reach.
const place = document.getElementById("swagger");
const mend = () => {
  place.querySelectorAll("[data-param-name] :is(select, input)").forEach((field) => {
    field.setAttribute("aria-label", field.closest("[data-param-name]").dataset.paramName);
  });
  place.querySelectorAll(".copy-to-clipboard button").forEach((button) => button.setAttribute("aria-label", "Copy"));
  place.querySelectorAll("pre.microlight").forEach((text) => { text.tabIndex = 0; });
};
new MutationObserver(mend).observe(place, { childList: true, subtree: true });

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger",
  // The page says what this is.
  plugins: [() => ({ components: { InfoContainer: () => null } })],
  // A link inside a button, which deep links are, can't be told apart by a screen reader.
  deepLinking: false,
  // Its colours are too weak.
  syntaxHighlight: false,
  // Swagger would otherwise ask a validator on the internet.
  validatorUrl: null,
});
