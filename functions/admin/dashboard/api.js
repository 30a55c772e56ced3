// The admin API, as whoever's token is kept for this tab.

const BASE = new URL(".", location.href).pathname;
const KEPT = "gateway-admin-token";

export const session = {
  get token() { return sessionStorage.getItem(KEPT); },
  set token(token) { token ? sessionStorage.setItem(KEPT, token) : sessionStorage.removeItem(KEPT); },
  /** Who that is, once it is known: `{ id, role }`. */
  me: null,
  get edits() { return this.me?.role === "owner" || this.me?.role === "operator"; },
  get owns() { return this.me?.role === "owner"; },
};

export class Refused extends Error {
  constructor(status, error) {
    super([error?.param, error?.message ?? `The gateway answered ${status}.`].filter(Boolean).join(": "));
    Object.assign(this, { status, code: error?.code });
  }
}

/** Calls `path` below /admin/; answers its JSON, with its ETag where it has one. */
export async function call(method, path, body, headers = {}) {
  const send = { method, headers: { authorization: `Bearer ${session.token}`, ...headers }, cache: "no-store" };
  if (body !== undefined) {
    send.headers["content-type"] = "application/json";
    send.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(BASE + path, send);
  } catch {
    throw new Refused(0, { message: "The gateway cannot be reached." });
  }
  const text = await answer.text();
  let json = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    json = null;
  }
  if (!answer.ok) throw new Refused(answer.status, json?.error);
  return { json, etag: answer.headers.get("etag"), degraded: answer.headers.get("x-gateway-degraded") };
}

export const get = async (path) => (await call("GET", path)).json;
export const post = async (path, body) => (await call("POST", path, body)).json;
export const patch = async (path, body, etag) => (await call("PATCH", path, body, etag ? { "if-match": etag } : {})).json;
export const remove = async (path) => (await call("DELETE", path)).json;

/** All rows of a list, up to `most`. */
export async function all(path, most = 2000) {
  const rows = [];
  let next = null;
  do {
    const cursor = next ? `${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(next)}` : "";
    const page = await get(path + cursor);
    rows.push(...page.data);
    next = page.next;
  } while (next && rows.length < most);
  return rows;
}

export const enc = encodeURIComponent;

/** A request to the data plane, to be pasted; on AWS that has an address of its own, which this page is not told. */
export async function curl_with(key) {
  const beside = new URL("..", location.href);
  const health = await fetch(new URL("health", beside)).catch(() => null);
  const root = health?.ok ? `${beside.origin}${beside.pathname}`.replace(/\/$/, "") : "https://YOUR-GATEWAY";
  return `curl ${root}/v1/chat/completions -H 'authorization: Bearer ${key}' \\\n  -H 'content-type: application/json' \\\n  -d '{"model":"auto","messages":[{"role":"user","content":"Hello"}]}'`;
}
