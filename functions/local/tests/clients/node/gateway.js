// The gateway that pytest has started, as the clients of one tenant see it, and what they ask.
import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { z } from "zod";

export const question = "What is an API?";
export const weather = "What is the weather in Paris?";
export const wrong = 3; // As a `top_p`, which is at most 1.
export const answer = z.object({ answer: z.string() });
export const days = z.object({ query: z.string(), days: z.number().int() });
export const forecast = ({ query, days }) => `${days} days of sun: ${query}`;

export const { GATEWAY_URL: root } = process.env;
const { GATEWAY_KEY, GATEWAY_ADMIN_TOKEN } = process.env;
const PATIENCE_MS = 60_000; // What is taken for a hang.
let tenants = 0;

export async function admin(path, body) {
  const headers = { authorization: `Bearer ${GATEWAY_ADMIN_TOKEN}`, "content-type": "application/json" };
  const sent = body && { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(`${root}/admin/${path}`, { headers, ...sent });
  assert(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

export class Gateway {
  root = root;
  url = `${root}/v1`;
  key = GATEWAY_KEY;

  /** The same gateway, as a new tenant with these limits sees it. */
  static async ofTenant(limits = {}) {
    const gateway = new Gateway();
    gateway.id = `node-${process.pid}-${tenants++}`;
    await admin("tenants", { id: gateway.id, limits });
    ({ key: gateway.key } = await admin(`tenants/${gateway.id}/keys`, { name: "its" }));
    return gateway;
  }

  /** The same gateway, as who has no key of it sees it. */
  static ofStranger() {
    const gateway = new Gateway();
    gateway.key = GATEWAY_KEY.slice(0, -1) + (GATEWAY_KEY.endsWith("a") ? "b" : "a");
    return gateway;
  }

  /** The receipt of this tenant's only request, as soon as it is written; nothing is held for it any more. */
  async settled() {
    const late = performance.now() + PATIENCE_MS;
    let receipts = [];
    while (!receipts.length) {
      await setTimeout(20);
      assert(performance.now() < late, "no receipt");
      ({ data: receipts } = await admin(`receipts?tenant=${this.id}`));
    }
    assert.equal(receipts.length, 1);
    assert.equal((await admin(`tenants/${this.id}/usage`)).tokens.held, 0);
    return receipts[0];
  }
}
