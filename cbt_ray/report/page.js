// The transcript viewer. Model text enters the page through textContent only; nothing is fetched.
"use strict";
(function () {
  var sessions = JSON.parse(document.getElementById("data-sessions").textContent);
  var viewer = document.getElementById("viewer");
  var form = viewer.querySelector(".filters"), list = viewer.querySelector(".list ol");
  var count = viewer.querySelector(".count"), reader = viewer.querySelector(".reader");
  var PREFIX = "#session=";
  var shown = [], current = null, links = new Map();

  function make(name, className, text) {
    var node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined && text !== null) node.textContent = text;
    for (var i = 3; i < arguments.length; i++) if (arguments[i]) node.appendChild(arguments[i]);
    return node;
  }
  function words(name) { return String(name).replace(/_/g, " "); }
  function unique(values) { return Array.from(new Set(values)); }
  function total(session) {
    var totals = session.ratings.map(function (r) { return r.total; }).filter(function (t) { return t !== null; });
    return totals.length ? totals.reduce(function (a, b) { return a + b; }, 0) / totals.length : null;
  }
  function points(value) { return value === null ? "unrated" : String(Math.round(value * 10) / 10); }

  var filters = {
    arm: { label: "Arm", of: function (s) { return [s.arm]; } },
    patient: { label: "Patient", of: function (s) { return [s.patient]; } },
    phase: { label: "Phase", of: function (s) { return [s.phase]; } },
    flag: { label: "Flag", of: function (s) { return s.flags.length ? s.flags : ["none"]; } },
    rating: { label: "Rating", of: function (s) { return [total(s) === null ? "unrated" : "rated"]; } }
  };

  function addFilters() {
    Object.keys(filters).forEach(function (name) {
      var select = make("select"), label = make("label", "", filters[name].label + " ");
      select.name = name;
      select.appendChild(new Option("all", ""));
      unique([].concat.apply([], sessions.map(filters[name].of))).forEach(function (value) {
        select.appendChild(new Option(words(value), value));
      });
      label.appendChild(select);
      form.appendChild(label);
    });
    var order = make("select"), label = make("label", "", "Order ");
    order.name = "order";
    [["study", "as scheduled"], ["low", "lowest total first"], ["high", "highest total first"]].forEach(function (pair) {
      order.appendChild(new Option(pair[1], pair[0]));
    });
    label.appendChild(order);
    form.appendChild(label);
    form.addEventListener("change", fill);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
  }

  function matches(session) {
    return Object.keys(filters).every(function (name) {
      var wanted = form.elements[name].value;
      return !wanted || filters[name].of(session).indexOf(wanted) >= 0;
    });
  }

  function sorted(found) {
    var order = form.elements.order.value, sign = order === "low" ? 1 : -1;
    if (order === "study") return found;
    return found.slice().sort(function (a, b) {
      var x = total(a), y = total(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x - y);
    });
  }

  function fill() {
    shown = sorted(sessions.filter(matches));
    links.clear();
    var items = shown.map(function (session) {
      var link = make("a", "", null,
        make("span", "", session.patient + ", session " + session.number),
        make("span", "", points(total(session))),
        make("small", "", session.arm + (session.flags.length ? " · " + session.flags.map(words).join(", ") : "")));
      link.href = PREFIX + encodeURIComponent(session.key);
      links.set(session.key, link);
      return make("li", "", null, link);
    });
    list.replaceChildren.apply(list, items);
    count.textContent = shown.length + " of " + sessions.length + " sessions";
    if (current && links.has(current.key)) links.get(current.key).setAttribute("aria-current", "true");
    else if (shown.length) show(shown[0]);
    else { current = null; reader.replaceChildren(make("p", "empty", "No session matches.")); }
  }

  function block(title, text) {
    return text ? make("div", "block", null, make("b", "", title), make("p", "", text)) : null;
  }

  function transcript(session) {
    var column = make("div", "turns");
    if (!session.session) {
      column.appendChild(make("p", "empty", "No transcript" + (session.reason ? ": " + words(session.reason) : "") + "."));
      return column;
    }
    var opening = block("Summary of the session before, carried into this one", session.session.opening);
    if (opening) column.appendChild(opening);
    session.session.turns.forEach(function (turn) {
      var speaker = turn.speaker === "therapist" ? "therapist" : "patient";
      column.appendChild(make("div", "turn " + speaker, null, make("b", "", speaker), make("p", "", turn.text)));
    });
    var summary = block("Summary of this session", session.session.summary);
    if (summary) column.appendChild(summary);
    return column;
  }

  function rating(one) {
    var part = make("div"), items = make("dl");
    part.appendChild(make("h4", "", one.view + " view, judge replicate " + one.judge_replicate + ": " +
      (one.total === null ? "unrated" + (one.reason ? ", " + words(one.reason) : "") : "total " + one.total)));
    Object.keys(one.items).forEach(function (name) {
      var item = one.items[name], missing = item.score === null || item.score === undefined;
      var score = missing ? "missing" : (item.word ? item.word + ", " : "") + item.score;
      items.appendChild(make("dt", "", null, make("span", "", item.title || name), make("span", "", score)));
      items.appendChild(make("dd", "", item.justification || (item.reason ? words(item.reason) : "No justification.")));
    });
    if (items.children.length) part.appendChild(items);
    return part;
  }

  function ratings(session) {
    var column = make("aside", "ratings");
    column.setAttribute("aria-label", "Ratings of this session");
    session.ratings.forEach(function (one) { column.appendChild(rating(one)); });
    if (!session.ratings.length) column.appendChild(make("p", "empty", "No rating."));
    return column;
  }

  function heading(session) {
    var head = make("header", "", null, make("h3", "", session.patient + ", session " + session.number + ", arm " + session.arm));
    var meta = make("p", "meta", session.phase + " phase · chain replicate " + session.replicate +
      (session.stop_reason ? " · ended by: " + words(session.stop_reason) : "") + " · " + session.key);
    head.appendChild(meta);
    if (session.flags.length) {
      var flags = make("p", "meta");
      session.flags.forEach(function (flag) { flags.appendChild(make("span", "flag", words(flag))); });
      head.appendChild(flags);
    }
    return head;
  }

  function show(session) {
    if (current && links.has(current.key)) links.get(current.key).removeAttribute("aria-current");
    current = session;
    var link = links.get(session.key);
    if (link) {
      link.setAttribute("aria-current", "true");
      link.parentNode.parentNode.parentNode.scrollTop = Math.max(0, link.offsetTop - 120);
    }
    reader.replaceChildren(heading(session), transcript(session), ratings(session));
  }

  function follow() {
    if (location.hash.indexOf(PREFIX) !== 0) return;
    var key;
    try { key = decodeURIComponent(location.hash.slice(PREFIX.length)); } catch (error) { return; }
    var session = sessions.find(function (one) { return one.key === key; });
    if (!session) return;
    if (!links.has(key)) { form.reset(); fill(); }
    show(session);
    viewer.scrollIntoView({ block: "start" });
  }

  function step(by) {
    var index = shown.indexOf(current) + by;
    if (index < 0 || index >= shown.length) return;
    location.hash = PREFIX + encodeURIComponent(shown[index].key);
  }

  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
  });
  window.addEventListener("hashchange", follow);
  viewer.hidden = false;
  addFilters();
  fill();
  follow();
})();
