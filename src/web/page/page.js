// Keeps the page up to date, says how long ago things were, and gives orders.
"use strict";

(() => {
  const same = { createHTML: (html) => html };
  // The HTML comes from the daemon that served this file, escaped there.
  const policy = window.trustedTypes ? window.trustedTypes.createPolicy("waveoff", same) : same;
  const byId = (id) => document.getElementById(id);

  const parsed = (html) => {
    const template = document.createElement("template");
    template.innerHTML = policy.createHTML(html);
    return template.content;
  };

  // Puts new content in place, and leaves open what was open and the focus where it was.
  const put = (element, html) => {
    const content = parsed(html);
    for (const old of element.querySelectorAll("details[id]")) {
      const twin = content.querySelector(`details[id="${CSS.escape(old.id)}"]`);
      if (twin) twin.open = old.open;
    }
    const focus = place(element);
    element.replaceChildren(content);
    if (focus !== null) restore(element, focus);
    enable(element);
  };

  const focusable = "a[href], button, input, select, summary";
  const place = (element) => {
    const active = document.activeElement;
    if (!active || active === element || !element.contains(active)) return null;
    return { at: [...element.querySelectorAll(focusable)].indexOf(active), text: active.textContent };
  };
  const restore = (element, { at, text }) => {
    const all = [...element.querySelectorAll(focusable)];
    const next = all.find((one) => one.textContent === text) || all[Math.min(at, all.length - 1)];
    if (next) next.focus({ preventScroll: true });
  };

  // How long ago, or until when.
  const words = (seconds) => {
    const size = Math.abs(seconds);
    if (size < 90) return `${Math.round(size)} s`;
    if (size < 5400) return `${Math.round(size / 60)} min`;
    if (size < 129600) return `${Math.round(size / 3600)} h`;
    return `${Math.round(size / 86400)} d`;
  };
  const tell = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
      if (!time.title) time.title = time.textContent;
      const past = "lasting" in time.dataset ? `for ${words(seconds)}` : `${words(seconds)} ago`;
      const text = seconds < 0 ? `in ${words(seconds)}` : past;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const enable = (root) => {
    for (const button of root.querySelectorAll("button[data-act]")) button.disabled = false;
    tell(root);
    const needy = document.querySelector("h1[data-needy]");
    if (needy) {
      const plain = document.title.replace(/^\(\d+\) /, "");
      const count = Number(needy.dataset.needy);
      document.title = count > 0 ? `(${count}) ${plain}` : plain;
    }
  };

  // Changes of the list: new rows, and the order of all.
  const list = ({ head, foot, order, rows }) => {
    if (head !== null) put(byId("head"), head);
    if (foot !== null) put(byId("foot"), foot);
    const body = byId("rows");
    const known = new Map([...body.rows].map((row) => [row.dataset.app, row]));
    for (const [app, html] of Object.entries(rows)) {
      const row = parsed(html).firstElementChild;
      const old = known.get(app);
      known.set(app, row);
      if (!old) continue;
      const had = old.contains(document.activeElement);
      old.replaceWith(row);
      if (had) row.querySelector("a").focus({ preventScroll: true });
      row.classList.add("changed");
    }
    if (order !== null) {
      const wanted = order.map((app) => known.get(app)).filter(Boolean);
      const active = document.activeElement;
      const isSame = wanted.length === body.rows.length && wanted.every((row, at) => row === body.rows[at]);
      if (!isSame) {
        body.replaceChildren(...wanted);
        if (body.contains(active)) active.focus({ preventScroll: true });
      }
    }
    tell(body);
  };

  const app = (parts) => {
    for (const [id, html] of Object.entries(parts)) {
      const element = byId(id);
      if (element) put(element, html);
    }
  };

  // A browser has few connections to one host: a tab that nobody sees keeps none.
  let source = null;
  let seen = document.body.dataset.seen;
  const link = byId("link");
  const say = (text, tone) => {
    if (link.textContent !== text) link.textContent = text;
    link.className = tone;
  };
  const hear = (name, apply) => {
    source.addEventListener(name, (event) => {
      seen = event.lastEventId;
      apply(JSON.parse(event.data));
      document.body.dataset.events = String(Number(document.body.dataset.events || 0) + 1);
    });
  };
  const listen = () => {
    const stream = document.body.dataset.stream;
    if (!stream || source || document.hidden) return;
    const joint = stream.includes("?") ? "&" : "?";
    source = new EventSource(`${stream}${joint}seen=${encodeURIComponent(seen)}`);
    source.onopen = () => say("live", "good");
    source.onerror = () => {
      say("not live: the daemon does not answer", "bad");
      // A refusal ends it for good; a broken connection it mends itself.
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(listen, 5000);
      }
    };
    hear("list", list);
    hear("app", app);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && source) {
      source.close();
      source = null;
      say("", "");
    } else {
      listen();
    }
  });
  window.addEventListener("pagehide", () => {
    if (source) source.close();
    source = null;
  });

  // Orders. The token is in this tab alone, and goes in a header.
  const TOKEN = "waveoff-operator-token";
  const NAME = "waveoff-operator-name";
  const NEEDS_REASON = ["hold"];
  const NEEDS_RELEASE = ["rollback", "pin", "quarantine", "unquarantine", "trust"];
  const order = byId("order");
  const form = order && order.querySelector("form");
  let wanted = null;

  const field = (name) => form.elements.namedItem(name);
  const answer = (text, tone) => {
    byId("order-answer").textContent = text;
    byId("order-answer").className = tone;
  };

  const open = (button) => {
    const act = button.dataset.act;
    const whom = button.closest("[data-for]");
    wanted = { act, app: whom ? whom.dataset.for : null, planned: false };
    const label = button.textContent.replace("…", "");
    byId("order-title").textContent = `${label}: ${wanted.app === null ? "all apps" : wanted.app}`;
    byId("order-says").textContent = button.dataset.says;
    byId("order-release").hidden = !NEEDS_RELEASE.includes(act);
    byId("order-for").hidden = act !== "hold";
    byId("order-why-must").hidden = !NEEDS_REASON.includes(act);
    // The releases as they are by now. Only what the order makes sense for, and nothing that is chosen and cannot be seen.
    const choices = byId("choices");
    field("release").replaceChildren(...(choices ? choices.content.cloneNode(true).children : []));
    const options = [...field("release").options];
    for (const option of options) {
      const { trusted, bad } = option.dataset;
      const fits = { pin: trusted !== undefined, trust: trusted === undefined, quarantine: bad === undefined, unquarantine: bad !== undefined };
      option.hidden = option.disabled = act in fits && !fits[act];
    }
    const first = options.find((option) => option.defaultSelected && !option.disabled) || options.find((option) => !option.disabled);
    field("release").value = first ? first.value : "";
    // What was said of another order is not said of this one.
    field("reason").value = "";
    field("for").value = "";
    field("reason").required = NEEDS_REASON.includes(act);
    field("by").value = localStorage.getItem(NAME) || "";
    field("token").value = sessionStorage.getItem(TOKEN) || "";
    byId("order-go").textContent = act === "rollback" ? "Show the plan" : label;
    const fitting = !NEEDS_RELEASE.includes(act) || Boolean(first);
    byId("order-go").disabled = !fitting;
    answer(fitting ? "" : "There is no release that this could be about.", fitting ? "" : "bad");
    order.showModal();
    (field("token").value ? field("reason") : field("token")).focus();
  };

  const request = () => {
    const { act, app, planned } = wanted;
    const said = { by: field("by").value.trim() || undefined, reason: field("reason").value.trim() || undefined };
    if (act === "hold") return ["POST", "/api/v1/hold", { app, for: field("for").value.trim() || null, reason: "", ...said }];
    if (act === "unhold") return ["DELETE", "/api/v1/hold", { app, ...said }];
    const path = `/api/v1/apps/${encodeURIComponent(app)}/${act}`;
    if (act !== "rollback" && NEEDS_RELEASE.includes(act)) return ["POST", path, { release: field("release").value, ...said }];
    if (act === "rollback") return ["POST", path, { to: field("release").value || undefined, dry_run: !planned, ...said }];
    return ["POST", path, said];
  };

  // What came of a hold, or of its end.
  const held = ({ apps, hold }) => {
    const whom = wanted.app === null ? "Every app" : wanted.app;
    const until = hold && hold.until ? `until ${hold.until.slice(0, 16).replace("T", " ")} UTC` : "until it is ended";
    const how = hold ? `${whom} is held ${until}: nothing is rolled back.` : `${whom} is no longer held.`;
    const late = wanted.app !== null && apps.length === 0 ? " It takes that as soon as it can." : "";
    return how + late;
  };

  const give = async () => {
    const [method, path, body] = request();
    const token = field("token").value.trim();
    const go = byId("order-go");
    go.disabled = true;
    answer("…", "");
    try {
      // The page's own address may have a name and a password in it, which a request must not have.
      const response = await fetch(`${location.origin}${path}`, {
        method,
        headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
        body: JSON.stringify(body),
        credentials: "omit",
        redirect: "error",
      });
      const text = await response.text();
      let said = {};
      try { said = JSON.parse(text); } catch { /* not of the API */ }
      if (response.status === 401 || response.status === 403) sessionStorage.removeItem(TOKEN);
      if (!response.ok) {
        answer(said.detail || said.error || `answered ${response.status}`, "bad");
        go.disabled = false;
        return;
      }
      sessionStorage.setItem(TOKEN, token);
      localStorage.setItem(NAME, field("by").value.trim());
      const begun = wanted.act === "rollback" && wanted.planned ? "It begins. " : "";
      answer(said.apps ? held(said) : `${begun}${said.text || "Done."}`, "good");
      if (wanted.act === "rollback" && !wanted.planned) {
        wanted.planned = true;
        go.textContent = "Roll back now";
        go.disabled = false;
        go.focus();
      } else {
        byId("order-close").focus();
      }
    } catch (error) {
      answer(`The daemon does not answer: ${error.message}`, "bad");
      go.disabled = false;
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("button[data-act]");
    if (button && order) open(button);
  });
  if (order) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      give();
    });
    // What was planned is what is done: a change asks for a new plan.
    form.addEventListener("input", () => {
      if (wanted && wanted.act === "rollback" && wanted.planned) {
        wanted.planned = false;
        byId("order-go").textContent = "Show the plan";
      }
    });
    byId("order-close").addEventListener("click", () => order.close());
  }

  enable(document);
  setInterval(() => tell(document), 1000);
  listen();
})();
