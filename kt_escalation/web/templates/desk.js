"use strict";
// The desk's only script: keys, news from the store, and forms that lose nothing. It sets text and moves elements
// that the desk itself has made; it never makes markup of a text.
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const seen = (it) => it.checkVisibility() && !it.disabled;

  // --- the door --------------------------------------------------------------------------------------

  if (one("#door")) {
    const token = location.hash.slice(1);
    if (token) {
      // The token is not left in the address, where somebody could read or copy it.
      history.replaceState(null, "", "/");
      fetch("/session", { method: "POST", body: new URLSearchParams({ token }) })
        .then((answer) => answer.text())
        .then((room) => {
          if (room) return location.replace(room);
          one("#opening").hidden = true;
          one("#refused").hidden = false;
        })
        .catch(() => { one("#opening").textContent = "The desk has ended."; });
    }
    return;
  }

  // --- loading ---------------------------------------------------------------------------------------

  // XMLHttpRequest parses a page without running anything of it.
  const load = (url, body) => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open(body ? "POST" : "GET", url);
    request.responseType = "document";
    request.onload = () => (request.response ? done(request) : failed(request.status));
    request.onerror = () => failed(0);
    request.send(body);
  });

  const tell = (text, offer, act) => {
    const news = one("#news");
    news.hidden = !text;
    news.textContent = text;
    if (offer) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = offer;
      button.dataset.key = "v";
      button.addEventListener("click", act);
      news.append(" ", button);
    }
  };

  const ready = (within) => {
    for (const it of all("[data-point]:not([data-point=''])", within)) {
      // HTML cannot hold these characters, a text node can.
      it.textContent = String.fromCodePoint(parseInt(it.dataset.point, 16));
    }
    for (const it of all("[data-load]", within)) {
      load(it.dataset.load).then((got) => {
        const found = one("[data-part]", got.response);
        if (!found || !it.isConnected) return;
        it.replaceChildren(document.adoptNode(found));
        ready(it);
      }, () => {});
    }
    for (const it of all("[data-key]", within)) {
      it.setAttribute("aria-keyshortcuts", it.dataset.key.replace("mod", "Control"));
    }
  };

  // What is typed in the old page goes into the same fields of the new one; what has none there is shown.
  const carry = (old, fresh) => {
    for (const it of all("textarea[id], input[id], select[id]", old)) {
      const same = fresh.querySelector(`#${CSS.escape(it.id)}`);
      const typed = it.matches("[type=radio], [type=checkbox]") ? it.checked : it.value !== it.defaultValue && it.value;
      if (same && it.matches("[type=radio], [type=checkbox]")) same.checked = it.checked;
      else if (same) same.value = it.value;
      else if (typed && it.matches("textarea")) {
        const left = document.createElement("textarea");
        left.readOnly = true;
        left.value = it.value;
        left.setAttribute("aria-label", "What you typed");
        fresh.append(left);
      }
    }
    for (const it of all("details[open].with-form", old)) {
      const name = one("textarea", it)?.id;
      const same = name && fresh.querySelector(`#${name}`)?.closest("details");
      if (same) same.open = true;
    }
  };

  const show = (page, { keep = false, focus = true } = {}) => {
    const old = one("main");
    const fresh = document.adoptNode(one("main", page));
    const active = document.activeElement?.id;
    if (keep) carry(old, fresh);
    old.replaceWith(fresh);
    document.title = page.title;
    tell("");
    ready(fresh);
    const back = keep && active && document.getElementById(active);
    if (back) back.focus();
    else if (focus) (one("#trouble", fresh) || one("[data-focus]", fresh) || fresh).focus();
    remember();
  };

  // The question before a decision is a step of its own in the browser's history, so that Back leads to the form with
  // all that was typed, as Escape does.
  const remember = () => {
    const sure = one(".sure");
    if (sure && !history.state?.sure) history.pushState({ sure: true }, "");
    else if (!sure && history.state?.sure) history.back();
  };
  addEventListener("popstate", () => {
    if (!history.state?.sure) one(".sure [data-key=Escape]")?.click();
  });

  // --- forms -----------------------------------------------------------------------------------------

  let leaving = false;
  const typed = () => all("main textarea:not([readonly])").some(
    (it) => (it.name === "amendment" && !it.hidden ? it.value !== it.defaultValue : it.value.trim()));
  addEventListener("beforeunload", (event) => { if (!leaving && typed()) event.preventDefault(); });

  // A single action sends along what is typed elsewhere on the page, so that the answer has it again.
  const fields = (form) => {
    const body = new URLSearchParams(new FormData(form));
    if (form.hasAttribute("data-keeps")) {
      for (const other of all("form", one("main"))) {
        if (other === form) continue;
        for (const [name, value] of new FormData(other)) {
          if (!body.has(name) && !name.startsWith("shown") && name !== "id") body.append(name, value);
        }
      }
    }
    return body;
  };

  // Why a form has no answer: its status is 0 where nobody answers, and a desk knows only its own pages.
  const why = (status) => {
    if (status === 413) return "This is too long to be sent.";
    if (status) return "This page is of a desk that has ended. Open the address that the terminal has printed last.";
    return "The desk does not answer. Is its terminal still open?";
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    const elsewhere = !form.closest("main");
    if (elsewhere && typed() && !confirm("What you typed here has not been sent. Leave it?")) return;
    const buttons = all("button", form);
    const body = fields(form);
    const waiting = (on) => {
      form.ariaBusy = String(on);
      for (const it of buttons) it.disabled = on;
    };
    waiting(true);
    const slow = setTimeout(() => tell("Asking the remote …"), 400);
    load(form.action, body).then((got) => {
      clearTimeout(slow);
      if (got.responseURL !== form.action) {
        if (elsewhere) leaving = true;
        location.assign(got.responseURL);
      } else if (elsewhere) {
        // It could not be done, and what is open here stays.
        waiting(false);
        tell(one("main", got.response).innerText || one("main", got.response).textContent.trim());
      }
      else show(got.response);
    }, (status) => {
      clearTimeout(slow);
      waiting(false);
      tell(`${why(status)} What you typed is still here.`);
    });
  });

  document.addEventListener("change", (event) => {
    const select = event.target;
    if (!select.dataset.fills || !select.value) return;
    const reason = document.getElementById(select.dataset.fills);
    const text = reason.value.trim();
    reason.value = text && text !== select.dataset.last ? `${text}\n${select.value}` : select.value;
    select.dataset.last = select.value;
    document.getElementById(select.dataset.sets).value = select.selectedOptions[0].dataset.category;
  });

  // --- news ------------------------------------------------------------------------------------------

  const refresh = () => {
    const list = one("[data-refresh]");
    const watched = one("[data-watch]");
    if (!list && !watched) return;
    load(location.href).then((got) => {
      const page = got.response;
      const fresh = one(list ? "[data-refresh]" : "[data-watch]", page);
      const here = list || watched;
      // A form may have been sent meanwhile, or the same state have come back.
      if (!fresh || !here.isConnected || fresh.dataset.state === here.dataset.state) return;
      if (watched) {
        tell("This has changed since you opened it.", "Show it as it is now (v)", () => show(page, { keep: true }));
        return;
      }
      const active = document.activeElement?.id;
      list.replaceWith(document.adoptNode(fresh));
      ready(fresh);
      if (active) document.getElementById(active)?.focus();
    }, () => {});
  };

  let revision = "";
  let source = null;
  const hear = (event) => {
    const told = JSON.parse(event.data);
    const away = one("#away");
    const [said, words] = told.away || ["", ""];
    away.hidden = !said;
    one("p", away).textContent = said;
    one("details", away).hidden = !words;
    one(".text", away).textContent = words;
    if (told.revision && told.revision !== revision) {
      revision = told.revision;
      refresh();
    }
  };
  // A page that nobody sees does not keep the remote being asked.
  const listen = () => {
    source?.close();
    source = null;
    if (document.hidden) return;
    source = new EventSource(document.body.dataset.live);
    source.addEventListener("message", hear);
  };
  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", () => source?.close());
  listen();

  // --- keys ------------------------------------------------------------------------------------------

  const help = one("#help");
  const single = one("#single");
  single.checked = localStorage.getItem("kt-single-keys") !== "off";
  single.addEventListener("change", () => localStorage.setItem("kt-single-keys", single.checked ? "on" : "off"));

  const press = (it) => {
    if (it.matches("textarea, select, input:not([type=radio])")) it.focus();
    else if (it.matches("summary")) {
      it.click();
      one("textarea, select, input:not([type=hidden])", it.parentElement)?.focus();
    } else {
      it.focus();
      it.click();
    }
  };

  const name = (it) => it.getAttribute("aria-label") || it.labels?.[0]?.innerText || it.innerText || it.id;

  const explain = () => {
    const rows = [["j, k", "The next, the previous in the list"], ["Escape", "Leave a field, so that keys work"]];
    for (const it of all("[data-key]")) {
      if (seen(it) && it.id !== "help-button") rows.push([it.dataset.key.replace("mod", "Ctrl"), name(it).trim()]);
    }
    one("#keys").replaceChildren(...rows.map(([key, words]) => {
      const row = document.createElement("div");
      const dt = document.createElement("dt");
      const kbd = document.createElement("kbd");
      const dd = document.createElement("dd");
      kbd.textContent = key;
      dt.append(kbd);
      dd.textContent = words;
      row.append(dt, dd);
      return row;
    }));
    help.showModal();
  };
  one("#help-button").hidden = false;
  one("#help-button").addEventListener("click", explain);

  const step = (by) => {
    const links = all(".queue a.title, .queue input[type=checkbox]").filter(seen);
    const at = links.indexOf(document.activeElement);
    links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
  };

  document.addEventListener("keydown", (event) => {
    if (help.open || event.isComposing) return;
    const { key } = event;
    const typing = event.target.closest?.("textarea, select, input:not([type=radio], [type=checkbox])");
    let wanted = key;
    if ((event.ctrlKey || event.metaKey) && key === "Enter") wanted = "mod+Enter";
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (typing) {
      if (key === "Escape") typing.blur();
      return;
    } else if (key !== "Escape" && !single.checked) return;
    else if (key === "j" || key === "k") return step(key === "j" ? 1 : -1);
    const it = all(`[data-key="${CSS.escape(wanted)}"]`).find(seen);
    if (!it) return;
    event.preventDefault();
    press(it);
  });

  ready(document);
  (one("#trouble") || one("[data-focus]"))?.focus();
})();
