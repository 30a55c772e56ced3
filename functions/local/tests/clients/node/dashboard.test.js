// The dashboard in a real browser: an operator's way through it, what a viewer may, and every page in light and dark and on
// a phone. With SCREENSHOTS=FOLDER each page is drawn there.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { admin, root } from "./gateway.js";

const SEEN_WITHIN_MS = 5_000; // The time in which traffic must show.
const PATIENCE_MS = 60_000; // What is taken for a hang.
const { GATEWAY_ADMIN_TOKEN, CHROMIUM = "/usr/bin/chromium", SCREENSHOTS } = process.env;
const MODES = [["light", 1280, "light"], ["dark", 1280, "dark"], ["phone", 390, "light"]];

let browser;
before(async () => { browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] }); });
after(() => browser.close());

/** A page in a session of its own, logged in; what the browser complains about fails the test. */
async function opened({ token = GATEWAY_ADMIN_TOKEN, width = 1280, scheme = "light" } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(error.message));
  page.on("console", (said) => { if (["error", "warning"].includes(said.type())) page.complaints.push(said.text()); });
  await page.goto(`${root}/admin/`);
  await page.fill("input[name=token]", token);
  await page.getByRole("button", { name: "Log in" }).click();
  return page;
}

/** Goes to a page and waits until it is read. */
async function at(page, path, heading) {
  await page.goto(`${root}/admin/#/${path}`);
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
  await page.getByText("Reading…").waitFor({ state: "detached" });
}

async function ask(key, model, text) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const body = JSON.stringify({ model, messages: [{ role: "user", content: text }] });
  const answer = await fetch(`${root}/v1/chat/completions`, { method: "POST", headers, body });
  assert(answer.ok, await answer.text());
}

async function faults(page) {
  const { violations } = await page.evaluate(`${axe.source}; axe.run()`);
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`);
}

describe("the dashboard", () => {
  test("what is no token is refused, and nothing of the page is shown", async () => {
    const page = await opened({ token: "nothing-of-the-kind-that-would-be-one" });
    await page.getByRole("alert").getByText("no admin's token").waitFor();
    assert.equal(await page.getByRole("heading", { name: "Overview" }).count(), 0);
    await page.context().close();
  });

  test("an operator makes a tenant, gives out a key, and sees it used", async () => {
    const page = await opened();
    await page.getByRole("link", { name: "Tenants" }).click();
    await page.getByRole("button", { name: /New tenant|Make the first tenant/ }).first().click();
    await page.getByLabel("Id").fill("atelier");
    await page.getByLabel("US dollars a day").fill("5");
    await page.getByRole("button", { name: "Create" }).click();
    await page.getByRole("heading", { level: 1, name: "atelier" }).waitFor();
    await page.getByText("No requests yet").waitFor();
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByLabel("What it is for").fill("the page's own");
    await page.getByLabel("US dollars a day").fill("0.5");
    await page.getByRole("button", { name: "Create" }).click();
    const key = (await page.getByRole("dialog").locator("pre").first().textContent()).trim();
    assert.match(key, /^gw_live_/);
    await page.getByRole("button", { name: "Done" }).click();
    for (const model of ["sim/fail-100", "sim/fail-50", "sim/slow-200", "reasoning", "cheap", "cheap"]) await ask(key, model, "What is an API?").catch(() => {});
    await ask(key, "auto", "Translate into French: the harbour was quiet in the morning.");
    const row = page.getByRole("row", { name: /auto/ });
    await row.waitFor({ timeout: SEEN_WITHIN_MS });
    await page.getByText("of $5.00").first().waitFor();
    await page.getByRole("row", { name: /the page's own/ }).getByText(/\$0\.0\d+ of \$0\.50/).waitFor();
    await row.getByRole("link").click();
    await page.getByRole("heading", { name: "Attempts" }).waitFor();
    await page.getByText("translation goes to the tier cheap").waitFor();
    await page.goBack();
    await page.getByRole("button", { name: "Change settings" }).click();
    await page.getByLabel("Requests a day").fill("7");
    await page.getByRole("button", { name: "Change", exact: true }).click();
    await page.getByText(/of 7\b/).first().waitFor();
    assert.equal((await admin("tenants/atelier")).limits.daily_requests, 7);
    assert.equal((await admin("tenants/atelier")).limits.daily_cost_usd, "5.000000000");
    await page.getByRole("button", { name: "Change settings" }).click();
    await page.getByLabel("Requests a day").fill("many");
    await page.getByRole("button", { name: "Change", exact: true }).click();
    await page.getByRole("alert").getByText("daily_requests").waitFor();
    assert.deepEqual(page.complaints.filter((text) => !text.includes("502")), []);
    await page.context().close();
  });

  test("a viewer sees everything and is refused what changes something", async () => {
    const owner = await opened();
    await owner.getByRole("link", { name: "Admins" }).click();
    await owner.getByRole("button", { name: "New admin" }).click();
    await owner.getByLabel("Name").fill("the auditor");
    await owner.getByRole("button", { name: "Create" }).click();
    const token = (await owner.getByRole("dialog").locator("pre").textContent()).trim();
    await owner.getByRole("button", { name: "Done" }).click();
    await owner.getByRole("row", { name: /the auditor/ }).waitFor();
    const page = await opened({ token });
    await page.getByText("the auditor (viewer)").waitFor();
    await at(page, "tenant/atelier", "atelier");
    await page.getByText("of $5.00").first().waitFor();
    for (const name of ["Change settings", "New key", /^Rotate/, /^Revoke/]) assert.equal(await page.getByRole("button", { name }).count(), 0, name);
    const refused = await page.evaluate(async () => {
      const headers = { authorization: `Bearer ${sessionStorage.getItem("gateway-admin-token")}`, "content-type": "application/json" };
      return (await fetch("tenants/atelier", { method: "PATCH", headers, body: '{"enabled":false}' })).status;
    });
    assert.equal(refused, 403);
    await owner.getByRole("button", { name: "Remove the auditor" }).click();
    await owner.getByRole("button", { name: "Remove it" }).click();
    await owner.getByText("No admins yet").waitFor();
    await page.reload();
    await page.getByText("not taken any more").waitFor();
    await Promise.all([owner, page].map((one) => one.context().close()));
  });

  test("a prompt's way is shown, and nothing is counted for it", async () => {
    const page = await opened();
    await at(page, "routing", "Routing");
    const used = async () => (await admin("metrics")).requests_total;
    const before = await used();
    await page.getByLabel("Prompt", { exact: true }).fill("Prove that there are infinitely many primes.");
    await page.getByRole("button", { name: "Decide" }).click();
    await page.getByText(/mathematics_reasoning, .* sure/).waitFor();
    assert.equal(await used(), before);
    await page.context().close();
  });

  test("what is old says so, and is new again once the gateway answers", async () => {
    const page = await opened();
    await at(page, "models", "Models");
    await page.route("**/admin/models", (route) => route.abort());
    await page.getByText(/What you see is from .* UTC/).waitFor();
    await page.unroute("**/admin/models");
    await page.getByText(/What you see is from/).waitFor({ state: "hidden" });
    await page.context().close();
  });

  test("the keyboard alone leads through it", async () => {
    const page = await opened();
    await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
    await page.getByRole("link", { name: "Models" }).focus();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "Tenants" }).waitFor();
    await page.getByRole("button", { name: "New tenant" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.context().close();
  });

  for (const [mode, width, scheme] of MODES) {
    test(`every page can be read: ${mode}`, async () => {
      const page = await opened({ width, scheme });
      await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
      const [{ id }] = (await admin("receipts?tenant=atelier")).data;
      const pages = [["", "Overview"], ["models", "Models"], ["tenants", "Tenants"], ["tenant/atelier", "atelier"],
        [`receipt/atelier/${id}`, "Receipt"], ["routing", "Routing"], ["audit", "Audit"], ["admins", "Admins"]];
      for (const [path, heading] of pages) {
        await at(page, path, heading);
        assert.deepEqual(await faults(page), [], path);
        assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} is too wide`);
        if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/${path.split("/")[0] || "overview"}-${mode}.png`, fullPage: true });
      }
      assert.deepEqual(page.complaints, []);
      await page.context().close();
    });
  }
});

test("the page may load and do nothing but its own, and is small", async () => {
  const answer = await fetch(`${root}/admin/`);
  assert.match(answer.headers.get("content-security-policy"), /^default-src 'none'; script-src 'self'; style-src 'self'/);
  const page = await answer.text();
  const modules = [...readFileSync(new URL("../../../../admin/dashboard/app.js", import.meta.url), "utf8").matchAll(/from "\.\/(\w+\.js)"/g)].map(([, name]) => `assets/${name}`);
  const named = [...page.matchAll(/(?:href|src)="(assets\/[^"]+)"/g)].map(([, path]) => path);
  let bytes = page.length;
  for (const path of new Set([...named, ...modules, "assets/chart.js"])) {
    const file = await fetch(`${root}/admin/${path}`);
    assert.equal(file.status, 200, path);
    const again = await fetch(`${root}/admin/${path}`, { headers: { "if-none-match": file.headers.get("etag") } });
    assert.equal(again.status, 304);
    bytes += (await file.arrayBuffer()).byteLength;
  }
  assert(bytes < 150_000, `${bytes} bytes`);
});
