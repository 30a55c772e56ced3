// Client libraries, unchanged, by every door that they know, in front of providers of every format. Each is a class with the
// same methods: `say` a whole answer, the pieces of a `stream`, `useTool` in a stream and go on, `parse` an answer in a form,
// ask something `wrong`, and `embed` texts and list `models` where the library does that.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Gateway } from "./gateway.js";
import * as vendors from "./vendors.js";
import * as vercel from "./vercel.js";

// Called in the chat format, as a Response, in Anthropic's format and in Google's.
const PROVIDERS = ["double", "response", "claude", "gemini"];

// It has a schema's answer come by a call that must be the only one, which Gemini cannot be told.
const IS_REFUSED = (name, provider) => name === "VercelByMessages" && provider === "gemini";

describe("ways", { concurrency: 6 }, () => {
  for (const [name, Way] of Object.entries({ ...vendors, ...vercel })) {
    for (const provider of PROVIDERS) {
      test(`${name}, ${provider}: an answer is whole and its stream says the same`, async () => {
        const client = new Way(new Gateway());
        const text = await client.say(`${provider}/ok`);
        const pieces = await Array.fromAsync(client.stream(`${provider}/ok`));
        assert.match(text, /promise/);
        assert.equal(pieces.join(""), text);
        assert(pieces.length > 5);
      });

      test(`${name}, ${provider}: a streamed call of a tool is answered and the next stream has the result`, async () => {
        const [results, text] = await new Way(new Gateway()).useTool(`${provider}/tools-once`);
        assert.deepEqual(results, ["3 days of sun: weather in Paris"]);
        assert.match(text, /promise/);
      });

      test(`${name}, ${provider}: an answer is parsed`, async () => {
        const parsed = new Way(new Gateway()).parse(`${provider}/json`);
        if (IS_REFUSED(name, provider)) await assert.rejects(parsed, /disable_parallel_tool_use/);
        else assert.deepEqual(await parsed, { answer: "Forty-two." });
      });

      test(`${name}, ${provider}: a stream that is left is settled`, async () => {
        const tenant = await Gateway.ofTenant();
        for await (const piece of new Way(tenant).stream(`${provider}/drip-20+length`)) if (piece) break;
        const { attempts, usage } = await tenant.settled();
        assert.deepEqual(attempts.map(({ outcome }) => outcome), ["client_gone"]);
        assert(usage.output_tokens > 5);
      });
    }

    test(`${name}: errors are of the types that a user catches`, async () => {
      const client = new Way(new Gateway());
      async function raised(status, ask) {
        const error = await ask().then(() => assert.fail("no error"), (error) => error);
        assert(error instanceof client.errors[status], `${error.stack}`);
        assert.equal(client.status(error), status);
        assert.doesNotMatch(error.message, /LEAK/);
        return error;
      }
      await raised(404, () => client.say("nobody/has"));
      await raised(404, () => Array.fromAsync(client.stream("nobody/has")));
      assert.match((await raised(400, () => client.wrong("double/ok"))).message, /top_p/);
      await raised(401, () => new Way(Gateway.ofStranger()).say("double/ok"));
      const limited = new Way(await Gateway.ofTenant({ daily_requests: 1 }));
      await limited.say("double/ok");
      assert(Number(client.retryAfter(await raised(429, () => limited.say("double/ok")))) > 0);
    });

    if (Way.prototype.embed)
      test(`${name}: texts are embedded`, async () => {
        const vectors = await new Way(new Gateway()).embed("vectors/ok", ["one", "two"]);
        assert.deepEqual(vectors.map(({ length }) => length), [8, 8]);
        assert.notDeepEqual(vectors[0], vectors[1]);
      });

    if (Way.prototype.models)
      test(`${name}: models are listed`, async () => {
        const names = await new Way(new Gateway()).models();
        assert(names.includes("auto") && names.includes("double/ok"));
      });
  }
});
