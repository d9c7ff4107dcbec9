// Keeps an open page true without losing the reader's place. Without it every page works; it is then as old as it says.
(() => {
  "use strict";
  const STALE_S = 25;
  // What a window that is seen again may take to catch up.
  const GRACE_S = 5;
  const RECONNECT_MS = 5000;
  const PATIENCE_MS = 20000;
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  // What of this page changes: "home", "page", "session:" and an id, or nothing but its head.
  let updates = document.body.dataset.updates;
  // When this page was last known to be what the server would show.
  let heard = Date.now();
  let seen = 0;
  let behind = false;
  let connected = false;
  let source = null;

  // ---- how old the page is ----
  const pad = (number) => String(number).padStart(2, "0");
  const clock = (moment) => moment.toISOString().slice(11, 19);
  const write = (place, text) => { if (place && place.textContent !== text) place.textContent = text; };
  const say = () => {
    if (document.visibilityState === "hidden") return;
    const now = new Date();
    write(document.querySelector("[data-clock]"), clock(now));
    const zone = Intl.DateTimeFormat([], { timeZoneName: "short" }).formatToParts(now).find((part) => part.type === "timeZoneName");
    const local = `${pad(now.getHours())}:${pad(now.getMinutes())}:${pad(now.getSeconds())} ${zone ? zone.value : ""}`;
    write(document.querySelector("[data-local]"), local);
    const fresh = byId("fresh");
    if (!fresh) return;
    const age = Math.round((now - heard) / 1000);
    const stale = age > STALE_S && now - seen > GRACE_S * 1000;
    const live = connected && !behind && updates;
    const words = fresh.dataset;
    const alarm = stale ? words.wordsStale.replace("{}", clock(new Date(heard))) : "";
    const calm = live ? words.wordsLive.replace("{}", age) : words.wordsOld.replace("{}", words.at.slice(0, 19).replace("T", " "));
    write(fresh.querySelector("span"), alarm || calm);
    fresh.classList.toggle("bad", stale);
    write(byId("stale"), alarm);
    root.dataset.live = stale ? "stale" : live ? "yes" : "no";
  };

  // ---- parts of the page that change ----
  // One element becomes like another with as few changes as possible: what has focus, is marked, opened or scrolled stays so.
  const key = (node) => node.id || node.dataset?.key || "";
  const alike = (one, other) => one.nodeName === other.nodeName && key(one) === key(other);
  const match = (old, next) => {
    if (old.isEqualNode(next)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) { old.data = next.data; return; }
    // Its content is written by a script.
    if ("own" in old.dataset) return;
    for (const name of old.getAttributeNames()) if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    matchContent(old, next);
  };
  const matchContent = (old, next) => {
    const known = new Map([...old.childNodes].filter(key).map((node) => [key(node), node]));
    const wanted = new Set([...next.childNodes].map(key).filter(Boolean));
    let at = old.firstChild;
    const drop = () => {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    };
    for (const child of next.childNodes) {
      while (at && key(at) && !wanted.has(key(at))) drop();
      const name = key(child);
      const found = name ? known.get(name) : at;
      known.delete(name);
      if (found && name) while (at && at !== found && !wanted.has(key(at))) drop();
      if (found && alike(found, child)) {
        if (found === at) at = at.nextSibling;
        else old.insertBefore(found, at);
        match(found, child);
      } else {
        old.insertBefore(document.importNode(child, true), at);
      }
    }
    while (at) drop();
  };

  // Rows stay where they are while somebody reads them; new ones come in by themselves only where nobody does.
  const list = (next) => {
    const here = byId("listing");
    const rows = byId("rows");
    const reading = rows && (rows.getBoundingClientRect().top < 0 || here.contains(document.activeElement));
    if (!reading) {
      byId("arrivals").replaceChildren();
      match(here, next);
      return;
    }
    const fresh = [...(next.querySelector("#rows")?.rows ?? [])];
    const arrived = fresh.filter((row) => !byId(row.id));
    for (const row of fresh) if (byId(row.id)) match(byId(row.id), row);
    // Those further down only moved up from the page behind this one.
    const newest = arrived.filter((row) => fresh.indexOf(row) < arrived.length);
    if (newest.length && !new URLSearchParams(location.search).has("after")) announce(newest.length);
  };
  const announce = (count) => {
    const place = byId("arrivals");
    const notice = document.createElement("p");
    const link = document.createElement("a");
    notice.className = "arrivals";
    link.href = location.href;
    link.textContent = place.dataset.words.replace("{}", count);
    notice.append(link);
    if (place.textContent !== link.textContent) place.replaceChildren(notice);
  };

  const take = (fresh, whole) => {
    for (const part of document.querySelectorAll(whole ? "[data-live]" : "#state")) {
      const next = fresh.getElementById(part.id);
      if (next) match(part, next);
    }
    if (!whole) return;
    if (updates === "home") list(fresh.getElementById("listing"));
    updates = fresh.body.dataset.updates;
    byId("fresh").dataset.at = fresh.getElementById("fresh").dataset.at;
    document.dispatchEvent(new CustomEvent("peak-trade-refreshed"));
  };
  let waiting = null;
  let busy = false;
  const refresh = async (whole) => {
    waiting = waiting || whole;
    if (busy) return;
    busy = true;
    const all = Boolean(updates) && (waiting || behind);
    waiting = null;
    let good = false;
    try {
      const address = all ? location.href : byId("state").dataset.alone;
      const answer = await fetch(address, { headers: { accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      // A page that says what is wrong has a head, too, and that is where an operator looks.
      if (fresh.getElementById("state")) take(fresh, all && answer.ok);
      if (answer.ok) {
        good = true;
        heard = Date.now();
        root.dataset.refreshed = Number(root.dataset.refreshed || 0) + 1;
      }
    } catch {
      // The next news tries again; until then the page says how old it is.
    } finally {
      busy = false;
      behind = !good;
      say();
      if (waiting !== null) setTimeout(refresh, 250, false);
    }
  };

  // ---- news ----
  const hear = (event) => {
    const news = JSON.parse(event.data);
    const mine = !updates.startsWith("session:") || !news.changed.length || news.changed.includes(updates.slice("session:".length));
    refresh(mine);
  };
  const connect = () => {
    source = new EventSource("/events");
    source.onopen = () => {
      connected = true;
      // Something may have changed since this page was made.
      refresh(true);
    };
    source.onerror = () => {
      connected = false;
      if (source.readyState === EventSource.CLOSED) setTimeout(reconnect, RECONNECT_MS);
    };
    source.addEventListener("alive", () => {
      if (behind) refresh(true);
      else if (!busy) heard = Date.now();
    });
    source.addEventListener("news", hear);
  };
  const disconnect = () => {
    source?.close();
    source = null;
    connected = false;
  };
  const reconnect = () => {
    disconnect();
    if (document.visibilityState !== "hidden") connect();
  };
  const look = () => {
    seen = Date.now();
    say();
    reconnect();
  };

  // ---- copy buttons ----
  const showCopies = () => {
    if (navigator.clipboard) document.querySelectorAll("button[data-copy]").forEach((button) => { button.hidden = false; });
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const text = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      // The browser does not let us; what is marked can be copied by hand.
      getSelection().selectAllChildren(text);
      return;
    }
    button.dataset.words ??= button.textContent;
    button.textContent = `✓ ${button.dataset.done}`;
    write(byId("spoken"), button.dataset.done);
    setTimeout(() => {
      button.textContent = button.dataset.words;
      write(byId("spoken"), "");
    }, 2000);
  });

  // ---- start ----
  const address = new URL(location.href);
  if (address.searchParams.has("lang") && navigator.cookieEnabled) {
    // It is remembered; asking for it again would undo a switch in another window.
    address.searchParams.delete("lang");
    history.replaceState(history.state, "", address);
  }
  document.addEventListener("peak-trade-refreshed", showCopies);
  // A browser opens only a few connections to one server: windows that nobody sees give theirs up, and so does a page left.
  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => { if (event.persisted) look(); });
  showCopies();
  say();
  setInterval(say, 1000);
  reconnect();
})();
