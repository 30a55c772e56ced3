// The dashboard: who is logged in, which page is shown, and how old it is. Each page is a module of its own.
import { call, session } from "./api.js";
import { clock, field, form, h } from "./dom.js";
import { overview } from "./overview.js";
import { models } from "./models.js";
import { tenants } from "./tenants.js";
import { tenant } from "./tenant.js";
import { receipt } from "./receipt.js";
import { routing } from "./routing.js";
import { audit } from "./audit.js";
import { admins } from "./admins.js";

/** By the first word behind `#/`; each is given the rest and answers `{ title, load, every_ms }`. */
const PAGES = { "": overview, models, tenants, tenant, receipt, routing, audit, admins };
const LINKS = [["", "Overview"], ["models", "Models"], ["tenants", "Tenants"], ["routing", "Routing"], ["audit", "Audit"], ["admins", "Admins"]];
const SECTIONS = { tenant: "tenants", receipt: "tenants" };

const main = document.getElementById("main");
const top_bar = document.getElementById("top");
const age = document.getElementById("age");
let shown = 0;
let timer;

function header(word) {
  const here = SECTIONS[word] ?? word;
  const link = ([path, name]) => h("a", { href: `#/${path}`, "aria-current": path === here && "page" }, name);
  const leave = () => { session.token = null; session.me = null; location.hash = "#/"; show(); };
  const who = session.me && [h("span", `${session.me.name ?? session.me.id} (${session.me.role})`), h("button.plain", { click: leave }, "Log out")];
  top_bar.replaceChildren(h("span.name", "AI Gateway"), h("nav", { "aria-label": "Pages" }, LINKS.filter(([path]) => path !== "admins" || session.owns).map(link)), h("div.who", who));
}

function login(why) {
  document.title = "Log in – AI Gateway";
  header("login");
  const token = h("input", { type: "password", autocomplete: "current-password", required: true, name: "token" });
  const enter = async () => {
    session.token = token.value.trim();
    try {
      session.me = (await call("GET", "me")).json;
    } catch (error) {
      session.token = null;
      throw error.status === 401 ? new Error("This is no admin's token, or it has expired.") : error;
    }
    show();
  };
  const hint = h("p.soft", "The first one is printed when the gateway starts; on AWS it is the value of GATEWAY_ADMIN_TOKEN. It is kept for this tab only.");
  main.replaceChildren(h("section.card", h("h1", "Log in"), why && h("p.bad", why), form([field("Admin token", token), hint], "Log in", enter)));
  main.firstChild.classList.add("login");
  token.focus();
}

/** Shows the page that the address names. It is read again every few seconds while it is looked at. */
async function show() {
  const turn = ++shown;
  clearTimeout(timer);
  age.hidden = true;
  document.querySelectorAll("dialog").forEach((box) => box.close());
  const [word, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  if (!session.token) return login();
  if (!session.me) {
    try {
      session.me = (await call("GET", "me")).json;
    } catch (error) {
      if (error.status === 401) return lost();
      return failed(error, null);
    }
  }
  header(word);
  const make = PAGES[word] ?? (() => ({ title: "Nothing here", load: async () => h("p", "There is no such page.") }));
  const page = make(...rest);
  document.title = `${page.title} – AI Gateway`;
  main.replaceChildren(h("h1", page.title), h("p.soft", "Reading…"));
  let read_at_ms = null;
  const again = async () => {
    if (turn !== shown) return;
    try {
      const body = await page.load(refresh);
      if (turn !== shown) return;
      // What is being typed or read is not taken away.
      if (body) swap(body);
      read_at_ms = Date.now();
      age.hidden = true;
    } catch (error) {
      if (turn !== shown) return;
      if (error.status === 401) return lost();
      failed(error, read_at_ms);
    }
    if (page.every_ms) timer = setTimeout(again, page.every_ms);
  };
  const refresh = () => { clearTimeout(timer); return again(); };
  await again();
  if (turn === shown && document.activeElement === document.body) main.focus({ preventScroll: true });
}

/** Puts the newly read page in place of the old one, with the same details open and the same place scrolled to. */
function swap(body) {
  const open = [...main.querySelectorAll("details")].map((details) => details.open);
  const focused = focus_path(document.activeElement);
  const scrolled = [...main.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  main.replaceChildren(...[body].flat());
  main.querySelectorAll("details").forEach((details, at) => { details.open = open[at] ?? details.open; });
  main.querySelectorAll(".scroll").forEach((box, at) => { box.scrollLeft = scrolled[at] ?? 0; });
  if (focused) main.querySelectorAll("a, button, input, select, summary, [tabindex]")[focused.at]?.focus({ preventScroll: true });
}

function focus_path(element) {
  const at = [...main.querySelectorAll("a, button, input, select, summary, [tabindex]")].indexOf(element);
  return at >= 0 ? { at } : null;
}

function failed(error, read_at_ms) {
  if (read_at_ms == null) {
    main.replaceChildren(h("h1", "This cannot be shown now"), h("p.note.bad", { role: "alert" }, error.message));
    return;
  }
  age.textContent = `What you see is from ${clock(read_at_ms)}. ${error.message} It is tried again every few seconds.`;
  age.hidden = false;
}

function lost() {
  session.token = null;
  session.me = null;
  login("Your token is not taken any more. Log in again.");
}

addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => { if (!document.hidden && session.me && !main.querySelector("form :focus")) show(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show());
show();
