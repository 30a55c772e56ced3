// Building the page: elements, numbers in words, and small parts that every page uses. Text is only ever set as text.

/** An element: `h("td.n", { title: "…" }, "text", element, …)`. Functions in `props` are listeners. */
export function h(what, props, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  const has_props = typeof props === "object" && props !== null && !(props instanceof Node) && !Array.isArray(props);
  if (!has_props) [props, children] = [{}, [props, ...children]];
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

export const count = (n) => (n ?? 0).toLocaleString("en");
export const percent = (share) => `${(100 * (share ?? 0)).toLocaleString("en", { maximumFractionDigits: 1 })} %`;

/** Dollars of a decimal string, to two places, or to as many as a small amount needs. */
export function usd(text) {
  const value = Number(text ?? 0);
  const places = value === 0 || value >= 1 ? 2 : value >= 0.01 ? 4 : 9;
  const shown = value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: places });
  return `$${shown}`;
}

export function ms(value) {
  if (value == null) return "–";
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value >= 100 ? Math.round(value) : value.toFixed(value >= 10 ? 1 : 2)} ms`;
}

const two = (n) => String(n).padStart(2, "0");

/** An instant in UTC, to the second; days and quotas count in UTC, so everything is shown in it. */
export function time(at_ms) {
  if (at_ms == null) return "–";
  const at = new Date(at_ms);
  const iso = at.toISOString();
  return h("time", { datetime: iso, title: `${at.toLocaleString()} where you are` }, `${iso.slice(0, 10)} ${iso.slice(11, 19)}`);
}

export const clock = (at_ms) => {
  const at = new Date(at_ms);
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} UTC`;
};

export const badge = (text, kind = "soft") => h(`span.badge.${kind}`, text);

/** A table: `columns` are `[title, "n" for numbers, cell of a row]`; a title that begins with a dot is only read out. */
export function table(caption, columns, rows) {
  const head = columns.map(([title, kind]) => h(`th${kind ? ".n" : ""}`, { scope: "col" }, title.startsWith(".") ? h("span.unseen", title.slice(1)) : title));
  const cell = (row) => ([, kind, of]) => h(`td${kind ? ".n" : ""}`, of(row));
  const body = rows.map((row) => h("tr", columns.map(cell(row))));
  const whole = h("table", { "aria-label": caption }, h("thead", h("tr", head)), h("tbody", body));
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": caption }, whole);
}

/** How much of a limit is used. */
export function used(name, { used: was, held, limit }, say) {
  const [a, b] = [Number(was), limit == null ? null : Number(limit)];
  const share = b ? Math.min(1, a / b) : 0;
  const bar = h(`i.${share >= 1 ? "bad" : share >= 0.8 ? "warn" : "good"}`);
  bar.style.width = `${100 * share}%`;
  const held_too = Number(held) > 0 && h("span.soft", `${say(held)} held`);
  const words = [h("span", name), h("span", say(was), " of ", limit == null ? "no limit" : say(limit), " ", held_too)];
  return h("div.used", h("div", words), b != null && meter(bar, name, share));
}

export function meter(bar, name, share) {
  const now = Math.round(100 * share);
  return h("div.meter", { role: "meter", "aria-label": name, "aria-valuenow": now, "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
}

/** A bar of a share, with its value beside it for those who do not see it. */
export function share(name, value, kind = "brand") {
  const bar = h(`i.${kind}`);
  bar.style.width = `${100 * value}%`;
  return meter(bar, name, value);
}

export function facts(pairs) {
  return h("dl.facts", pairs.filter(Boolean).map(([name, value]) => [h("dt", name), h("dd", value)]));
}

export const tile = (name, value, sub) => h("div.tile", h("dt", name), h("dd", value, sub && h("span.sub", sub)));
export const tiles = (...all) => h("dl.tiles", all);
export const empty = (title, ...rest) => h("div.empty", h("h2", title), rest);

/** One of some choices. */
export function periods(choices, chosen, choose) {
  const one = ([name, key]) => h("button", { type: "button", "aria-pressed": String(key === chosen), click: () => choose(key) }, name);
  return h("div.periods", { role: "group", "aria-label": "Period" }, choices.map(one));
}

/** A word to the operator, for some seconds. */
export function toast(text) {
  const said = h("p", text);
  document.getElementById("toast").append(said);
  setTimeout(() => said.remove(), 6000);
}

/** A text that can be copied. */
export function copied(text, label = "Copy") {
  const copy = async (event) => {
    await navigator.clipboard?.writeText(text);
    event.target.textContent = navigator.clipboard ? "Copied" : "Select and copy it";
  };
  return h("div", h("pre", { tabindex: 0 }, text), h("div.row", h("button", { type: "button", click: copy }, label)));
}

/** A dialog: `fill(close)` makes what is in it. */
export function dialog(title, fill) {
  const box = h("dialog", { "aria-label": title });
  const close = () => box.close();
  box.addEventListener("close", () => box.remove());
  box.append(h("h2", title), fill(close));
  box.querySelector("form > .row")?.append(h("button", { type: "button", click: close }, "Cancel"));
  document.body.append(box);
  box.showModal();
  return box;
}

/** Asks before something that cannot be undone. */
export function confirmed(title, text, verb) {
  return new Promise((done) => {
    const box = dialog(title, (close) => {
      const yes = () => (done(true), close());
      const buttons = [h("button.danger", { click: yes }, verb), h("button", { click: close }, "Cancel")];
      return h("div", h("p", text), h("div.row", buttons));
    });
    box.addEventListener("close", () => done(false));
  });
}

/** A form whose submission is awaited, with what goes wrong beside its button. */
export function form(fields, verb, submit, kind = "main") {
  const wrong = h("p.bad", { role: "alert", hidden: true });
  const button = h(`button.${kind}`, { type: "submit" }, verb);
  const sent = async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.hidden = true;
    try {
      await submit(event.target);
    } catch (error) {
      wrong.textContent = error.message;
      wrong.hidden = false;
    } finally {
      button.disabled = false;
    }
  };
  return h("form", { submit: sent }, fields, wrong, h("div.row", button));
}

export const field = (name, input, hint) => h("label", name, input, hint && h("span", hint));

/** A line of amounts over time, with their sum in words. */
export function trend(amounts, say, time) {
  const [width, height, most] = [112, 26, Math.max(...amounts, 1e-12)];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS(svg.namespaceURI, "polyline");
  const sum = amounts.reduce((all, amount) => all + amount, 0);
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${say(sum)} in ${time}` })) svg.setAttribute(name, value);
  line.setAttribute("points", amounts.map((amount, at) => `${(at * (width - 4)) / (amounts.length - 1) + 2},${height - 3 - (amount / most) * (height - 6)}`).join(" "));
  for (const [name, value] of Object.entries({ fill: "none", stroke: "currentColor", "stroke-width": 1.5 })) line.setAttribute(name, value);
  svg.append(line);
  return [svg, " ", h("span.soft", say(sum))];
}
