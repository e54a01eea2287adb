"use strict";
// Finds, sorts and shows the escalations of the page's data. All that is in a record is set as text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 50;
  const OID = 12;
  const CASE = 14;
  const EVENT = 5;
  const text = (number) => data.texts[number];
  const $ = (id) => document.getElementById(id);
  if (!$("explorer")) return;

  // --- the data -----------------------------------------------------------------------------------

  const cases = [];
  let first = 0;
  data.ids.forEach((id, number) => {
    const [severity, state, created, end, due, route, holder, reason, summary, request, policy, model, overdue, count] =
      data.cases.slice(number * CASE, (number + 1) * CASE);
    cases.push({
      number, id, created, end, due, first, count,
      severity: text(severity), state: text(state), route: text(route), holder: text(holder), reason: text(reason),
      summary: text(summary), request: text(request), policy: text(policy), model: text(model), overdue: text(overdue),
      rank: data.severities.indexOf(text(severity)),
      took: end < 0 ? data.at - created : end,
      open: end < 0,
    });
    first += count;
  });
  const byId = new Map(cases.map((it) => [it.id, it]));

  const events = (it) => {
    const found = [];
    for (let number = it.first; number < it.first + it.count; number++) {
      const [after, action, actor, outcome, said] = data.events.slice(number * EVENT, (number + 1) * EVENT);
      found.push({
        at: it.created + after, action: text(action), actor: text(actor), outcome: text(outcome), said: text(said),
        commit: data.commits.slice(number * OID, (number + 1) * OID),
      });
    }
    return found;
  };

  // All words of a case in one text, made when it is first asked for.
  const words = (it) => {
    it.words ??= [it.id, it.state, it.severity, it.route, it.holder, it.reason, it.summary, it.request, it.policy, it.model, it.overdue]
      .concat(events(it).flatMap((event) => [event.commit, event.action, event.actor, event.outcome, event.said]))
      .join("\n").toLowerCase();
    return it.words;
  };

  // --- what is shown ------------------------------------------------------------------------------

  const view = { found: cases, sort: "", down: false, from: 0, open: new Set() };

  const STATES = {
    open: (it) => it.open,
    overdue: (it) => it.overdue !== "",
    resolved: (it) => !it.open,
  };
  const KEYS = {
    id: (it) => it.id,
    severity: (it) => it.rank,
    state: (it) => it.state,
    created: (it) => it.created,
    took: (it) => it.took,
    route: (it) => it.route,
    holder: (it) => it.holder,
  };

  // A whole commit id is found by the part of it that the page has.
  const short = (word) => (/^[0-9a-f]{13,64}$/.test(word) ? word.slice(0, OID) : word);

  function find() {
    const wanted = $("search").value.toLowerCase().split(/\s+/).filter(Boolean).map(short);
    const state = $("state").value, severity = $("severity").value, route = $("route").value;
    const fits = STATES[state] ?? ((it) => it.state === state);
    const found = cases.filter((it) =>
      (!state || fits(it)) && (!severity || it.severity === severity) && (!route || it.route === route) &&
      wanted.every((word) => words(it).includes(word)));
    if (view.sort) {
      const key = KEYS[view.sort], way = view.down ? -1 : 1;
      found.sort((a, b) => {
        const x = key(a), y = key(b);
        return x < y ? -way : x > y ? way : a.number - b.number;
      });
    }
    view.found = found;
    view.from = 0;
    show();
  }

  const element = (name, ...parts) => {
    const made = document.createElement(name);
    made.append(...parts);
    return made;
  };
  const marked = (made, name) => {
    made.className = name;
    return made;
  };
  const time = (seconds) => new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, -8);
  const span = (seconds) => {
    for (const [unit, size, below, part] of [["d", 86400, "h", 3600], ["h", 3600, "m", 60], ["m", 60, "s", 1]]) {
      if (seconds >= size) {
        const rest = Math.floor((seconds % size) / part);
        return `${Math.floor(seconds / size)}${unit}${rest ? rest + below : ""}`;
      }
    }
    return `${Math.max(0, seconds)}s`;
  };

  function row(it) {
    const open = view.open.has(it.id);
    const button = marked(element("button", it.id), "toggle");
    button.type = "button";
    button.setAttribute("aria-expanded", open);
    button.addEventListener("click", () => toggle(it));
    const head = element("th", button, marked(element("span", it.summary || it.reason), "said"));
    head.scope = "row";
    const state = element("td", marked(element("span", it.state), `state is-${it.state}`));
    if (it.overdue) state.append(marked(element("span", "overdue"), "said"));
    const made = element("tr", head,
      element("td", marked(element("span", it.severity), `severity is-${it.severity}`)), state,
      marked(element("td", time(it.created)), "time"),
      marked(element("td", span(it.took)), "number"),
      element("td", it.route), element("td", it.holder || "–"));
    made.id = it.id;
    if (it.overdue) made.className = "late";
    return open ? [made, timeline(it)] : [made];
  }

  function timeline(it) {
    const facts = element("dl");
    const tell = (name, value) => value && facts.append(element("div", element("dt", name), element("dd", value)));
    tell("reason", it.reason);
    tell("request", it.request);
    tell("policy", it.policy);
    tell("model", it.model);
    tell("due", it.due >= 0 && time(it.created + it.due));
    tell("overdue", it.overdue);
    const list = marked(element("ol"), "timeline");
    for (const event of events(it)) {
      const what = element("span", marked(element("strong", event.action), "action"));
      if (event.outcome) what.append(" as ", marked(element("span", event.outcome), `state is-${event.outcome}`));
      what.append(" by ", event.actor);
      const item = element("li", marked(element("time", time(event.at)), "time"), what, element("code", event.commit));
      if (event.said) item.append(marked(element("p", event.said), "words"));
      list.append(item);
    }
    if (!it.count) list.append(element("li", "It came into the store before its history begins."));
    const cell = element("td", facts, list);
    cell.colSpan = 7;
    return marked(element("tr", cell), "detail");
  }

  function toggle(it) {
    view.open[view.open.has(it.id) ? "delete" : "add"](it.id);
    show();
    $(it.id)?.querySelector("button").focus();
  }

  const count = (number, all) => `${number.toLocaleString("en")} of ${all.toLocaleString("en")}`;

  function show() {
    const some = view.found.slice(view.from, view.from + PAGE);
    $("cases").tBodies[0].replaceChildren(...some.flatMap(row));
    const whole = Number($("explorer").dataset.cases);
    const left = whole - cases.length;
    $("found").textContent = `${count(view.found.length, cases.length)} escalations found` +
      (left ? `; the ${left.toLocaleString("en")} that were resolved the longest ago are left out, to keep the page small` : "");
    $("place").textContent = some.length
      ? `${(view.from + 1).toLocaleString("en")} to ${count(view.from + some.length, view.found.length)}` : "";
    $("back").disabled = view.from === 0;
    $("on").disabled = view.from + PAGE >= view.found.length;
    $("pager").hidden = view.found.length <= PAGE;
    for (const head of $("cases").tHead.rows[0].cells) {
      const mine = head.dataset.sort === view.sort;
      head.ariaSort = mine ? (view.down ? "descending" : "ascending") : "none";
    }
  }

  // --- what is done -------------------------------------------------------------------------------

  // An address that ends in an escalation's id shows it, whatever was looked for before.
  function follow() {
    const it = byId.get(location.hash.slice(1));
    if (!it) return;
    $("filters").reset();
    view.open.add(it.id);
    find();
    view.from = Math.floor(view.found.indexOf(it) / PAGE) * PAGE;
    show();
    $(it.id).scrollIntoView();
    $(it.id).querySelector("button").focus({ preventScroll: true });
  }

  for (const route of [...new Set(cases.map((it) => it.route))].sort()) $("route").append(element("option", route));
  $("search").addEventListener("input", find);
  for (const box of ["state", "severity", "route"]) $(box).addEventListener("change", find);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const head of $("cases").tHead.rows[0].cells) {
    head.firstElementChild.addEventListener("click", () => {
      view.down = view.sort === head.dataset.sort && !view.down;
      view.sort = head.dataset.sort;
      find();
    });
  }
  const turn = (pages) => {
    view.from += pages * PAGE;
    show();
    $("found").scrollIntoView();
  };
  $("back").addEventListener("click", () => turn(-1));
  $("on").addEventListener("click", () => turn(1));
  addEventListener("hashchange", follow);
  // What is folded up on the screen is there on paper.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((it) => { it.open = true; }));
  $("explorer").hidden = false;
  find();
  // Not before the browser itself has looked for the address's end on the page, which takes the focus away: it does
  // so when it draws the page first (HTML Standard, "try to scroll to the fragment").
  addEventListener("load", () => requestAnimationFrame(() => requestAnimationFrame(follow)));
})();
