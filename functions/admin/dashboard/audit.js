// The audit log: who changed what, newest first.
import { enc, get } from "./api.js";
import { empty, h, table, time } from "./dom.js";

export function audit() {
  let pages = [null];
  async function load(refresh) {
    const read = await Promise.all(pages.map((cursor) => get(`audit?limit=100${cursor ? `&cursor=${enc(cursor)}` : ""}`)));
    const rows = read.flatMap(({ data }) => data);
    const next = read.at(-1).next;
    const more = next && h("button", { click: () => { pages = [...pages, next]; refresh(); } }, "Older ones");
    return [h("h1", "Audit"), h("p.lead", "Every change of tenants, keys and admins. Nothing is ever taken out."), h("section", rows.length ? [table("Audit log", COLUMNS, rows), more] : empty("Nothing was changed yet"))];
  }
  return { title: "Audit", load };
}

const COLUMNS = [
  ["When (UTC)", "", ({ at_ms }) => time(at_ms)], ["Who", "", ({ who }) => who], ["From", "", ({ from }) => from ?? "–"],
  ["What", "", ({ what }) => h("code", what)], ["Subject", "", ({ subject }) => subject], ["Change", "", ({ before, after }) => change(before, after)],
];

/** The fields that differ; all of them where something was made or removed. */
function change(before, after) {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  const text = (value) => (value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
  const lines = names.flatMap((name) => {
    const [was, is] = [before?.[name], after?.[name]];
    if (JSON.stringify(was) === JSON.stringify(is)) return [];
    if (was && is && typeof was === "object" && !Array.isArray(was)) {
      const inner = Object.keys({ ...was, ...is }).filter((key) => JSON.stringify(was[key]) !== JSON.stringify(is[key]));
      return inner.map((key) => [`${name}.${key}`, text(was[key]), text(is[key])]);
    }
    return [[name, text(was), text(is)]];
  });
  const line = ([name, was, is]) => h("li", h("code", name), ": ", was !== "" && h("del", was), was !== "" && is !== "" && " ", is !== "" && h("ins", is));
  const list = h("ul", lines.map(line));
  return lines.length > 3 ? h("details", h("summary", `${lines.length} fields`), list) : list;
}
