// Keeps an open page true without losing the reader's place. Without it every page works; it is then as old as it says.
(() => {
  "use strict";
  const STALE_S = 25;
  const updates = document.body.dataset.updates;
  let heard = Date.now();
  let connected = false;
  let busy = false;
  let again = false;

  // ---- how old the page is ----
  const pad = (number) => String(number).padStart(2, "0");
  const say = () => {
    const now = new Date();
    const clock = document.querySelector("[data-clock]");
    const local = document.querySelector("[data-local]");
    const fresh = document.getElementById("fresh");
    if (clock) clock.textContent = now.toISOString().slice(11, 19);
    if (local) {
      const zone = Intl.DateTimeFormat([], { timeZoneName: "short" }).formatToParts(now).find((part) => part.type === "timeZoneName");
      local.textContent = `${pad(now.getHours())}:${pad(now.getMinutes())}:${pad(now.getSeconds())} ${zone ? zone.value : ""}`;
    }
    if (!fresh) return;
    const age = Math.round((Date.now() - heard) / 1000);
    const stale = age > STALE_S;
    const words = stale ? fresh.dataset.wordsStale : connected ? fresh.dataset.wordsLive : fresh.dataset.wordsOld;
    const text = words.replace("{}", connected || stale ? age : fresh.dataset.at.slice(0, 19).replace("T", " "));
    const place = fresh.querySelector("span");
    if (place.textContent !== text) place.textContent = text;
    fresh.classList.toggle("stale", stale);
    document.documentElement.dataset.live = stale ? "stale" : connected ? "yes" : "no";
  };

  // ---- parts of the page that change ----
  const keepFocus = (change) => {
    const held = document.activeElement;
    const name = held && held !== document.body ? held.id : "";
    change();
    if (name && document.activeElement !== held) document.getElementById(name)?.focus({ preventScroll: true });
  };
  const inUse = (part) => {
    const selection = getSelection();
    const marked = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    return marked || (part.contains(document.activeElement) && !document.activeElement.id);
  };
  const opened = (part) => [...part.querySelectorAll("details")].map((one) => one.open);
  const swap = (part, fresh) => {
    if (part.innerHTML === fresh.innerHTML || inUse(part)) return;
    const open = opened(part);
    const scrolled = [...part.querySelectorAll(".scroll")].map((one) => [one.scrollTop, one.scrollLeft]);
    part.replaceChildren(...fresh.cloneNode(true).childNodes);
    part.querySelectorAll("details").forEach((one, number) => { one.open = open[number] ?? false; });
    part.querySelectorAll(".scroll").forEach((one, number) => { [one.scrollTop, one.scrollLeft] = scrolled[number] ?? [0, 0]; });
    showCopies(part);
  };

  // Rows stay where they are; new ones only come in by themselves where nobody reads further down.
  const rows = (fresh) => {
    const table = document.getElementById("rows");
    const next = fresh.getElementById("rows");
    const empty = document.getElementById("sessions");
    if (!table || !next) {
      const other = fresh.getElementById("sessions");
      if (empty && other && (table === null) !== (next === null)) location.reload();
      return;
    }
    const known = new Map([...table.rows].map((row) => [row.id, row]));
    const arrived = [];
    for (const row of next.rows) {
      const here = known.get(row.id);
      if (!here) arrived.push(row);
      else if (here.innerHTML !== row.innerHTML && !inUse(here)) {
        here.replaceChildren(...row.cloneNode(true).childNodes);
        here.className = row.className;
      }
    }
    const onTop = new Set([...next.rows].slice(0, arrived.length).map((row) => row.id));
    const newest = arrived.filter((row) => onTop.has(row.id));
    if (!newest.length || new URLSearchParams(location.search).has("after")) return;
    const atTop = table.getBoundingClientRect().top > 0 && !table.contains(document.activeElement);
    if (atTop) {
      const count = table.rows.length;
      for (const row of newest.reverse()) table.prepend(row.cloneNode(true));
      while (table.rows.length > Math.max(count, next.rows.length)) table.deleteRow(-1);
      return;
    }
    const notice = document.getElementById("arrivals");
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = notice.dataset.words.replace("{}", newest.length);
    notice.replaceChildren(link);
    notice.hidden = false;
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        keepFocus(() => {
          for (const part of document.querySelectorAll("[data-live]")) {
            const next = part.id && fresh.getElementById(part.id);
            if (next) swap(part, next);
          }
          if (updates === "home") rows(fresh);
        });
        const began = Boolean(document.querySelector("[data-charts]")) !== Boolean(fresh.querySelector("[data-charts]"));
        if (updates.startsWith("session:") && began) location.reload();
        document.dispatchEvent(new CustomEvent("peak-trade-refreshed", { detail: { ended: !fresh.body.dataset.updates } }));
        heard = Date.now();
        document.documentElement.dataset.refreshed = Number(document.documentElement.dataset.refreshed || 0) + 1;
      }
    } catch {
      // The next news tries again; until then the page says how old it is.
    } finally {
      busy = false;
      if (again) { again = false; setTimeout(refresh, 250); }
    }
  };

  // ---- news ----
  if (updates) {
    const source = new EventSource("/events");
    source.onopen = () => { connected = true; heard = Date.now(); };
    source.onerror = () => { connected = false; };
    source.addEventListener("alive", () => { heard = Date.now(); });
    source.addEventListener("news", (event) => {
      heard = Date.now();
      const news = JSON.parse(event.data);
      const mine = updates === "home" || news.changed.includes(updates.slice("session:".length)) || !news.running.length;
      if (mine || news.failure) refresh();
    });
    // Leaving the page ends the stream, so that the server need not wait for it.
    addEventListener("pagehide", () => source.close());
  }

  // ---- copy buttons ----
  const showCopies = (part) => {
    if (!navigator.clipboard) return;
    part.querySelectorAll("button[data-copy]").forEach((button) => { button.hidden = false; });
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.dataset.copied = "yes";
    const words = button.textContent;
    button.textContent = "✓";
    setTimeout(() => { button.textContent = words; }, 1500);
  });
  showCopies(document);
  say();
  setInterval(say, 1000);
})();
