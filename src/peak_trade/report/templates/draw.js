(() => {
  "use strict";
  const drawings = JSON.parse(document.getElementById("drawings").textContent);
  // On a touch screen a finger on a chart scrolls the page until the reader picks a tool.
  const touch = matchMedia("(pointer: coarse)").matches;
  const settle = (plot) => {
    if (touch) {
      for (const tool of plot.toolbar.tools) {
        if (tool.active) tool.active = false;
      }
    }
  };
  Bokeh.embed.embed_items(drawings.documents, drawings.items).then((managers) => {
    const views = managers.flatMap((manager) => [...manager]).filter((view) => "toolbar" in view.model);
    views.forEach((view) => settle(view.model));
    // Axes and grids take their colours from the style sheet, which follows the system's scheme.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      views.forEach((view) => view.request_repaint());
    });
    document.documentElement.dataset.drawn = views.length;
  });
})();
