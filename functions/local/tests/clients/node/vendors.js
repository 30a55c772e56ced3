// OpenAI's and Anthropic's own libraries, as ways (see ways.test.js).
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { answer, days, forecast, question, weather, wrong } from "./gateway.js";

const errors = (library) => ({
  400: library.BadRequestError, 401: library.AuthenticationError, 404: library.NotFoundError, 429: library.RateLimitError,
});

/** What the errors of both have in common. */
class Vendor {
  status = (error) => error.status;
  retryAfter = (error) => error.headers.get("retry-after");

  async models() {
    const names = [];
    for await (const model of this.client.models.list()) names.push(model.id);
    return names;
  }
}

class ByOpenAI extends Vendor {
  errors = errors(OpenAI);

  constructor({ url, key }) {
    super();
    this.client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
  }
}

export class OpenAIByChat extends ByOpenAI {
  ask = (model, more) => ({ model, messages: [{ role: "user", content: question }], ...more });

  async say(model) {
    return (await this.client.chat.completions.create(this.ask(model))).choices[0].message.content;
  }

  async *stream(model) {
    const chunks = await this.client.chat.completions.create(this.ask(model, { stream: true }));
    for await (const chunk of chunks) if (chunk.choices[0]?.delta.content) yield chunk.choices[0].delta.content;
  }

  async useTool(model) {
    const results = [];
    const tool = zodFunction({
      name: "get_weather", parameters: days, function: (asked) => results[results.push(forecast(asked)) - 1],
    });
    const messages = [{ role: "user", content: weather }];
    const runner = this.client.chat.completions.runTools({ model, messages, tools: [tool], stream: true });
    return [results, await runner.finalContent()];
  }

  async parse(model) {
    const asked = this.ask(model, { response_format: zodResponseFormat(answer, "answer") });
    return (await this.client.chat.completions.parse(asked)).choices[0].message.parsed;
  }

  async embed(model, input) {
    return (await this.client.embeddings.create({ model, input })).data.map(({ embedding }) => embedding);
  }

  wrong = (model) => this.client.chat.completions.create(this.ask(model, { top_p: wrong }));
}

export class OpenAIByResponses extends ByOpenAI {
  async say(model) {
    return (await this.client.responses.create({ model, input: question })).output_text;
  }

  async *stream(model) {
    const events = await this.client.responses.create({ model, input: question, stream: true });
    for await (const event of events) if (event.type === "response.output_text.delta") yield event.delta;
  }

  async useTool(model) {
    const tools = [zodResponsesFunction({ name: "get_weather", parameters: days })];
    const input = [{ role: "user", content: weather }];
    const { output } = await this.client.responses.stream({ model, input, tools }).finalResponse();
    const calls = output.filter((item) => item.type === "function_call");
    const results = calls.map((call) => forecast(call.parsed_arguments));
    // The parsed arguments are the library's own, which its users are told to take out.
    input.push(...output.map(({ parsed_arguments, ...item }) => item));
    input.push(...calls.map(({ call_id }, place) => ({ type: "function_call_output", call_id, output: results[place] })));
    const final = await this.client.responses.stream({ model, input, tools }).finalResponse();
    return [results, final.output_text];
  }

  async parse(model) {
    const asked = { model, input: question, text: { format: zodTextFormat(answer, "answer") } };
    return (await this.client.responses.parse(asked)).output_parsed;
  }

  wrong = (model) => this.client.responses.create({ model, input: question, top_p: wrong });
}

export class AnthropicByMessages extends Vendor {
  errors = errors(Anthropic);

  constructor({ root, key }) {
    super();
    this.client = new Anthropic({ baseURL: root, apiKey: key, maxRetries: 0 });
  }

  ask = (model, more) => ({ model, max_tokens: 500, messages: [{ role: "user", content: question }], ...more });

  async say(model) {
    return (await this.client.messages.create(this.ask(model))).content[0].text;
  }

  async *stream(model) {
    const events = await this.client.messages.create(this.ask(model, { stream: true }));
    for await (const event of events) if (event.delta?.type === "text_delta") yield event.delta.text;
  }

  async useTool(model) {
    const results = [];
    const tool = betaZodTool({
      name: "get_weather", description: "The weather of a city", inputSchema: days,
      run: (asked) => results[results.push(forecast(asked)) - 1],
    });
    const messages = [{ role: "user", content: weather }];
    const runner = this.client.beta.messages.toolRunner({ model, max_tokens: 500, messages, tools: [tool], stream: true });
    let last;
    for await (const stream of runner) last = await stream.finalMessage();
    return [results, last.content[0].text];
  }

  async parse(model) {
    const asked = this.ask(model, { output_config: { format: zodOutputFormat(answer) } });
    return (await this.client.messages.parse(asked)).parsed_output;
  }

  wrong = (model) => this.client.messages.create(this.ask(model, { top_p: wrong }));
}
