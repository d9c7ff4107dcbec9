// Draws a session's charts from what the server gives, and moves them on while the session runs.
(() => {
  "use strict";
  const place = document.querySelector("[data-charts]");
  if (!place) return;
  let views = [];
  let before = "";
  let reach = 0;

  const axisOf = (doc) => doc.roots().find((root) => root.x_range).x_range;

  const draw = async (drawings) => {
    place.querySelectorAll(".chart").forEach((part) => part.replaceChildren());
    const managers = await Bokeh.embed.embed_items(drawings.documents, drawings.items);
    views = managers.flatMap((manager) => [...manager]).filter((view) => "toolbar" in view.model);
    // On a touch screen a finger on a chart scrolls the page until the reader picks a tool.
    if (matchMedia("(pointer: coarse)").matches) {
      for (const view of views) for (const tool of view.model.toolbar.tools) if (tool.active) tool.active = false;
    }
    reach = views.length ? axisOf(views[0].model.document).end : 0;
    document.documentElement.dataset.drawn = views.length;
  };

  // The same charts with more points: only their data changes, and a view that the reader has chosen stays.
  const moveOn = (drawings) => {
    const sources = (doc) => [...doc._all_models.values()].filter((model) => model.type === "ColumnDataSource");
    const shown = views[0].model.document;
    const next = shown.constructor.from_json(Object.values(drawings.documents)[0]);
    const old = sources(shown);
    const fresh = sources(next);
    if (!old.length || old.length !== fresh.length) return false;
    old.forEach((source, number) => { source.data = fresh[number].data; });
    const axis = axisOf(next);
    const range = views[0].model.x_range;
    // A reader who has moved the view keeps it; one who has not goes along.
    const follows = Math.abs(range.end - reach) < 1;
    range.bounds = axis.bounds;
    if (follows) range.end = axis.end;
    range.reset_end = axis.end;
    reach = axis.end;
    Bokeh.documents.splice(Bokeh.documents.indexOf(next), 1);
    document.documentElement.dataset.moved = Number(document.documentElement.dataset.moved || 0) + 1;
    return true;
  };

  const look = async () => {
    try {
      const answer = await fetch(place.dataset.charts, { cache: "no-store" });
      if (!answer.ok) return;
      const text = await answer.text();
      if (text === before) return;
      before = text;
      const drawings = JSON.parse(text);
      if (!drawings.items.length) return;
      if (!views.length || !moveOn(drawings)) await draw(drawings);
    } catch (error) {
      console.warn(error);
    }
  };
  document.addEventListener("peak-trade-refreshed", look);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => views.forEach((view) => view.request_repaint()));
  look();
})();
