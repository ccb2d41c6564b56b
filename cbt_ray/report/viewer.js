// The transcript viewer. Model text enters the page through textContent only. Where transcripts lie beside the page, the file that
// holds a session's text is loaded when the session is opened; nothing else is ever fetched.
"use strict";
(function () {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const viewer = document.getElementById("viewer"), form = viewer.querySelector("form");
  const list = viewer.querySelector(".list ol"), count = viewer.querySelector(".count");
  const reader = viewer.querySelector(".reader"), fields = form.elements;
  const sessions = data.sessions, byKey = new Map(), chunks = new Map(), waiting = new Map();
  let shown = [], current = null, turn = 0, chosen = null;

  const words = (name) => String(name).replace(/_/g, " ").replace(/:/g, ": ");
  const tenth = (value) => String(Math.round(value * 10) / 10);

  // An element: attributes as an object, children as nodes or text.
  function make(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "class") node.className = value;
      else if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  // ---- filters ---------------------------------------------------------------------------------------------------
  const NONE = "none";
  const choices = {
    arm: { label: "Arm", of: (s) => [s.arm] },
    patient: { label: "Patient", of: (s) => [s.patient] },
    phase: { label: "Phase", of: (s) => [s.phase] },
    flag: { label: "Flag", of: (s) => s.flags },
    end: { label: "Ended by", of: (s) => [s.stop || s.reason || NONE] },
    rating: { label: "Rating", of: (s) => [s.total === undefined ? "unrated" : "rated"] },
  };
  const orders = [["", "as scheduled"], ["low", "lowest total first"], ["high", "highest total first"]];

  sessions.forEach((session, index) => {
    session.index = index;
    session.flags = session.flags || [];
    session.text = [session.patient, session.arm, session.phase, "session " + session.number, session.key, words(session.stop || "")]
      .concat(session.flags.map(words), words(session.reason || "")).join(" ").toLowerCase();
    byKey.set(session.key, session);
  });

  function addFilters() {
    const add = (label, field) => form.insertBefore(make("label", {}, label + " ", field), form.querySelector("button"));
    const select = (name, pairs) => make("select", { name }, ...pairs.map(([value, label]) => new Option(label, value)));
    add("Find", make("input", { name: "find", type: "search", placeholder: "patient, arm, flag, …", autocomplete: "off" }));
    for (const [name, choice] of Object.entries(choices)) {
      const values = Array.from(new Set(sessions.flatMap(choice.of)));
      if (name === "flag" && values.length) values.push(NONE);
      add(choice.label, select(name, [["", "all"]].concat(values.map((value) => [value, words(value)]))));
    }
    const points = { type: "number", step: "any", min: data.range[0], max: data.range[1], inputmode: "decimal" };
    add("Total from", make("input", { name: "from", placeholder: data.range[0], ...points }));
    add("to", make("input", { name: "to", placeholder: data.range[1], ...points }));
    add("Order", select("order", orders));
    form.addEventListener("input", () => { fill(); remember(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => { fill(); remember(); }));
  }

  function matcher() {
    const wanted = Object.entries(choices).filter(([name]) => fields[name].value);
    const tokens = fields.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const from = parseFloat(fields.from.value), to = parseFloat(fields.to.value);
    return (session) => wanted.every(([name, choice]) => {
      const has = choice.of(session), value = fields[name].value;
      return has.includes(value) || (name === "flag" && value === NONE && !has.length);
    }) && tokens.every((token) => session.text.includes(token))
      && (isNaN(from) || session.total >= from) && (isNaN(to) || session.total <= to);
  }

  function sorted(found) {
    const order = fields.order.value;
    if (!order) return found;
    const rank = (s) => (s.total === undefined ? Infinity : order === "low" ? s.total : -s.total);
    return found.sort((a, b) => rank(a) - rank(b) || a.index - b.index);
  }

  // ---- the list --------------------------------------------------------------------------------------------------
  function item(session) {
    if (session.node) return session.node;
    const total = session.total === undefined ? make("span", { class: "unrated" }, "unrated") : make("span", {}, tenth(session.total));
    const bar = make("i", { class: "share", "aria-hidden": "true" });
    if (session.total !== undefined) {
      bar.style.setProperty("--share", (session.total - data.range[0]) / (data.range[1] - data.range[0]));
    }
    const flags = session.flags.length ? " · " + session.flags.map(words).join(", ") : "";
    const link = make("a", { href: "#session=" + encodeURIComponent(session.key) },
      make("span", {}, session.patient + ", session " + session.number), total, make("small", {}, session.arm + flags), bar);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      open(session);
    });
    session.link = link;
    session.node = make("li", {}, link);
    return session.node;
  }

  function fill() {
    shown = sorted(sessions.filter(matcher()));
    list.replaceChildren(...shown.map(item));
    count.textContent = shown.length + " of " + sessions.length + (sessions.length === 1 ? " session" : " sessions");
  }

  // ---- texts -----------------------------------------------------------------------------------------------------
  window.cbtRayTranscripts = function (page, number, texts) {
    if (page === data.id) chunks.set(number, texts);
  };

  function load(number) {
    if (chunks.has(number)) return Promise.resolve(chunks.get(number));
    const island = document.getElementById("transcripts-" + number);
    if (island) {
      chunks.set(number, JSON.parse(island.textContent));
      return Promise.resolve(chunks.get(number));
    }
    if (!waiting.has(number)) {
      const file = data.folder + "/" + String(number).padStart(3, "0") + ".js";
      waiting.set(number, new Promise((resolve, reject) => {
        const script = make("script", { src: file });
        const failed = (why) => { waiting.delete(number); reject(new Error(file + " " + why)); };
        script.onload = () => (chunks.has(number) ? resolve(chunks.get(number)) : failed("belongs to another report."));
        script.onerror = () => failed("is not beside this page. It was written there with it; copy both together.");
        document.head.append(script);
      }));
    }
    return waiting.get(number);
  }

  // ---- one session -----------------------------------------------------------------------------------------------
  function block(title, text) {
    return text ? make("div", { class: "block" }, make("b", {}, title), make("p", {}, text)) : null;
  }

  function address(session, number) {
    const params = filters();
    params.set("session", session.key);
    if (number) params.set("turn", number);
    return "#" + params;
  }

  // What belongs to a turn and was not said: folded away, a part of a reply or an event each.
  function unsaid(one) {
    const missed = one.missed ? [make("p", { class: "missed" }, "Missed the form: " + words(one.missed))] : [];
    return missed.concat((one.hidden || []).map(([name, text]) =>
      make("details", {}, make("summary", {}, "Not said: " + words(name)), make("p", {}, text))));
  }

  function transcript(session, held) {
    const column = make("div", { class: "turns", tabindex: "0", role: "group", "aria-label": "Transcript" });
    if (!held) {
      column.append(make("p", { class: "empty" }, "No transcript" + (session.reason ? ": " + words(session.reason) : "") + "."));
      return column;
    }
    column.append(...[block("Summary of the session before, carried into this one", held.opening)].filter(Boolean));
    held.turns.forEach((one, index) => {
      const speaker = one.speaker === "therapist" ? "therapist" : "patient", number = index + 1;
      const link = make("a", { href: address(session, number), "aria-label": "Link to turn " + number }, String(number));
      link.addEventListener("click", (event) => { event.preventDefault(); point(number); });
      column.append(make("div", { class: "turn " + speaker, id: "turn-" + number },
        make("b", {}, link, " " + speaker), make("p", {}, one.text), ...unsaid(one)));
    });
    column.append(...[block("Summary of this session", held.summary)].filter(Boolean));
    return column;
  }

  const told = (one) => one.total === undefined ? (one.note || words(one.reason || "no total")) : "total " + tenth(one.total);

  function ratings(found) {
    const column = make("aside", { class: "ratings", tabindex: "0", "aria-label": "Ratings of this session" });
    if (!found.length) {
      column.append(make("p", { class: "empty" }, "No rating."));
      return column;
    }
    let picked = Math.max(0, found.findIndex((one) => one.name === chosen));
    if (found.length === 1) column.append(make("h4", {}, found[0].name + ": " + told(found[0])));
    else {
      const group = make("fieldset", {}, make("legend", {}, found.length + " ratings; the justifications are those of"));
      found.forEach((one, index) => {
        const radio = make("input", { type: "radio", name: "rating-shown", value: index });
        radio.checked = index === picked;
        radio.addEventListener("change", () => { picked = index; chosen = one.name; scores(); });
        group.append(make("label", {}, radio, make("span", { class: "no" }, String(index + 1)), make("span", {}, one.name),
          make("span", { class: "told" }, told(one))));
      });
      column.append(group);
    }
    const place = column.appendChild(make("div"));
    function scores() { place.replaceChildren(...table(found, picked)); }
    scores();
    return column;
  }

  function table(found, picked) {
    const one = found[picked], parts = [];
    if (one.note) parts.push(make("p", { class: "note" }, one.note));
    const names = Object.keys(data.titles).filter((name) => found.some((other) => name in (other.items || {})));
    names.push(...Object.keys(one.items || {}).filter((name) => !names.includes(name)));
    if (!names.length) return parts.concat(make("p", { class: "empty" }, "No scores" + (one.reason ? ": " + words(one.reason) : "") + "."));
    const head = make("tr", {}, make("th", { scope: "col" }, "Item"));
    found.forEach((other, index) => head.append(make("th", { scope: "col", class: index === picked ? "picked" : "", title: other.name },
      found.length > 1 ? String(index + 1) : "Score")));
    const body = make("tbody");
    names.forEach((name) => {
      const row = make("tr", {}, make("th", { scope: "row" }, data.titles[name] || name));
      found.forEach((other, index) => {
        const score = (other.items || {})[name] || {};
        row.append(make("td", { class: index === picked ? "picked" : "", title: score.word || words(score.reason || "") },
          score.score === undefined ? "–" : tenth(score.score)));
      });
      const own = (one.items || {})[name] || {};
      const said = [own.word ? own.word + ". " : "", own.justification || (own.reason ? words(own.reason) : "No justification.")];
      body.append(row, make("tr", { class: "why" }, make("td", { colspan: found.length + 1 }, make("b", {}, said[0]), said[1])));
    });
    return parts.concat(make("table", {}, make("thead", {}, head), body));
  }

  function heading(session) {
    const head = make("header", {}, make("h3", {}, session.patient + ", session " + session.number + ", arm " + session.arm));
    const facts = [session.phase + " phase", session.replicate > 1 ? "chain " + session.replicate : null,
      session.total === undefined ? null : "total " + tenth(session.total),
      session.stop ? "ended by: " + words(session.stop) : null].filter(Boolean);
    const link = make("a", { href: address(session), class: "here" }, "link to this session");
    const meta = make("p", { class: "meta" }, facts.join(" · ") + " · ", link);
    session.flags.forEach((flag) => meta.append(" ", make("span", { class: "flag" }, words(flag))));
    const step = (label, by) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => move(by));
      return button;
    };
    const steps = make("p", { class: "steps" }, step("previous", -1), step("next", 1));
    head.append(steps, meta, make("p", { class: "meta key" }, session.key));
    return head;
  }

  function show(session) {
    if (current && current.link) current.link.removeAttribute("aria-current");
    current = session;
    if (!session) return reader.replaceChildren(make("p", { class: "empty" }, "No session matches."));
    item(session);
    session.link.setAttribute("aria-current", "true");
    const pane = list.parentNode, top = session.link.offsetTop;
    if (session.node.isConnected && (top < pane.scrollTop + 40 || top > pane.scrollTop + pane.clientHeight - 80)) {
      pane.scrollTop = Math.max(0, top - pane.clientHeight / 3);
    }
    return load(session.chunk).then((texts) => {
      if (current !== session) return;
      const text = texts[session.key];
      reader.replaceChildren(heading(session), transcript(session, text.session), ratings(text.ratings));
      mark();
    }, (error) => {
      if (current === session) reader.replaceChildren(heading(session), make("p", { class: "problem" }, error.message));
    });
  }

  function mark() {
    for (const old of reader.querySelectorAll(".turn[aria-current]")) old.removeAttribute("aria-current");
    const node = turn ? reader.querySelector("#turn-" + turn) : null;
    if (node) {
      node.setAttribute("aria-current", "true");
      node.scrollIntoView({ block: "nearest" });
    }
  }

  // ---- the address -----------------------------------------------------------------------------------------------
  const NAMES = ["find", ...Object.keys(choices), "from", "to", "order"];

  function filters() {
    const params = new URLSearchParams();
    NAMES.forEach((name) => { if (fields[name].value) params.set(name, fields[name].value); });
    return params;
  }

  function go(hash, replace) {
    try { history[replace ? "replaceState" : "pushState"](null, "", hash); } catch (error) { location.hash = hash; }
  }
  function remember() { go(current && shown.includes(current) ? address(current, turn) : "#" + filters(), true); settle(); }
  function settle() {
    if (!current || !shown.includes(current)) { turn = 0; show(shown[0] || null); }
  }
  function open(session) { turn = 0; show(session); go(address(session)); }
  function point(number) { turn = number; mark(); go(address(current, number), true); }
  function move(by) {
    const next = shown[shown.indexOf(current) + by];
    if (next) open(next);
  }
  function turns(by) {
    const most = reader.querySelectorAll(".turn").length;
    if (most) point(Math.min(most, Math.max(1, turn + by)));
  }

  function follow() {
    if (!location.hash.includes("=")) return false;
    const params = new URLSearchParams(location.hash.slice(1)), session = byKey.get(params.get("session"));
    NAMES.forEach((name) => { fields[name].value = params.get(name) || ""; });
    fill();
    if (session && !shown.includes(session)) { form.reset(); fill(); }
    turn = parseInt(params.get("turn"), 10) || 0;
    const settled = show(session || shown[0] || null);
    viewer.scrollIntoView({ block: "start" });
    if (settled) settled.then(() => viewer.scrollIntoView({ block: "start" }));
    return true;
  }

  // ---- keys ------------------------------------------------------------------------------------------------------
  function visible() {
    const box = viewer.getBoundingClientRect();
    return box.top < innerHeight - 60 && box.bottom > 60;
  }
  const keys = { j: () => move(1), k: () => move(-1), n: () => turns(1), p: () => turns(-1), "/": () => fields.find.focus() };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !visible()) return;
    if (event.key === "Escape" && viewer.contains(document.activeElement)) {
      if (fields.find.value && document.activeElement === fields.find) { fields.find.value = ""; fill(); remember(); }
      reader.focus();
      return;
    }
    if (/^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "radio") return;
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps && list.contains(event.target)) {
      event.preventDefault();
      const next = shown[shown.findIndex((session) => session.link === event.target) + steps[event.key]];
      if (next) { open(next); next.link.focus({ preventScroll: true }); }
    } else if (event.key in keys) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  window.addEventListener("hashchange", follow);
  window.addEventListener("popstate", follow);
  addFilters();
  viewer.hidden = false;
  if (!follow()) { fill(); show(shown[0] || null); }
})();
