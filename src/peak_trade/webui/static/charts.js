// Draws a session's charts from what the server gives, and moves them on while the session runs.
(() => {
  "use strict";
  let views = [];
  let before = "";
  let reach = 0;
  let busy = false;

  const axisOf = (doc) => doc.roots().find((root) => root.x_range).x_range;
  // A reader who has moved the view keeps it; one who has not goes along.
  const follows = () => Math.abs(views[0].model.x_range.end - reach) < 1;

  const draw = async (drawings) => {
    const kept = views.length && !follows() ? views[0].model.x_range : null;
    const chosen = kept && { start: kept.start, end: kept.end };
    document.querySelectorAll("[data-charts] .chart").forEach((part) => part.replaceChildren());
    const managers = await Bokeh.embed.embed_items(drawings.documents, drawings.items);
    views = managers.flatMap((manager) => [...manager]).filter((view) => "toolbar" in view.model);
    // On a touch screen a finger on a chart scrolls the page until the reader picks a tool.
    if (matchMedia("(pointer: coarse)").matches) {
      for (const view of views) for (const tool of view.model.toolbar.tools) if (tool.active) tool.active = false;
    }
    reach = views.length ? axisOf(views[0].model.document).end : 0;
    if (chosen && views.length) Object.assign(views[0].model.x_range, chosen);
    document.documentElement.dataset.drawn = views.length;
  };

  // The same charts with more points: only their data changes.
  const moveOn = (drawings) => {
    const sources = (doc) => [...doc._all_models.values()].filter((model) => model.type === "ColumnDataSource");
    const shown = views[0].model.document;
    const next = shown.constructor.from_json(Object.values(drawings.documents)[0]);
    const old = sources(shown);
    const fresh = sources(next);
    Bokeh.documents.splice(Bokeh.documents.indexOf(next), 1);
    if (!old.length || old.length !== fresh.length) return false;
    old.forEach((source, number) => { source.data = fresh[number].data; });
    const axis = axisOf(next);
    const range = views[0].model.x_range;
    const along = follows();
    range.bounds = axis.bounds;
    if (along) range.end = axis.end;
    range.reset_end = axis.end;
    reach = axis.end;
    document.documentElement.dataset.moved = Number(document.documentElement.dataset.moved || 0) + 1;
    return true;
  };

  const look = async () => {
    const place = document.querySelector("[data-charts]");
    if (!place || busy) return;
    busy = true;
    try {
      const answer = await fetch(place.dataset.charts, { cache: "no-store" });
      if (!answer.ok) return;
      const text = await answer.text();
      if (text === before) return;
      const drawings = JSON.parse(text);
      if (!drawings.items.length) return;
      if (!views.length || !moveOn(drawings)) await draw(drawings);
      before = text;
    } catch (error) {
      console.warn(error);
    } finally {
      busy = false;
    }
  };
  document.addEventListener("peak-trade-refreshed", look);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => views.forEach((view) => view.request_repaint()));
  look();
})();
