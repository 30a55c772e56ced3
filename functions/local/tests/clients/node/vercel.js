// Vercel's AI SDK with its providers, as ways (see ways.test.js).
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, isStepCount, Output, streamText, tool } from "ai";
import { answer, days, forecast, question, weather, wrong } from "./gateway.js";

globalThis.AI_SDK_LOG_WARNINGS = false;

class Vercel {
  errors = { 400: APICallError, 401: APICallError, 404: APICallError, 429: APICallError };
  status = (error) => error.statusCode;
  retryAfter = (error) => error.responseHeaders["retry-after"];

  constructor({ url, key }) {
    this.model = this.provider({ name: "gateway", baseURL: url, apiKey: key, supportsStructuredOutputs: true });
  }

  ask = (model, more) => ({ model: this.model(model), prompt: question, maxRetries: 0, ...more });

  async say(model) {
    return (await generateText(this.ask(model))).text;
  }

  async *stream(model) {
    const leave = new AbortController();
    try {
      for await (const part of streamText(this.ask(model, { abortSignal: leave.signal, onError() {} })).fullStream) {
        if (part.type === "error") throw part.error;
        if (part.type === "text-delta") yield part.text;
      }
    } finally {
      leave.abort();
    }
  }

  async useTool(model) {
    const tools = { get_weather: tool({ description: "The weather of a city", inputSchema: days, execute: forecast }) };
    const result = streamText(this.ask(model, { prompt: weather, tools, stopWhen: isStepCount(3) }));
    const steps = await result.steps;
    return [steps.flatMap((step) => step.toolResults.map(({ output }) => output)), steps.at(-1).text];
  }

  async parse(model) {
    return (await generateText(this.ask(model, { output: Output.object({ schema: answer }) }))).output;
  }

  wrong = (model) => generateText(this.ask(model, { topP: wrong }));
}

class VercelOfOpenAI extends Vercel {
  async embed(model, values) {
    return (await embedMany({ model: this.model.embeddingModel(model), values, maxRetries: 0 })).embeddings;
  }
}

export class VercelByDefault extends VercelOfOpenAI {
  provider(settings) {
    return createOpenAI(settings);
  }
}

export class VercelByChat extends Vercel {
  provider(settings) {
    return createOpenAI(settings).chat;
  }
}

export class VercelCompatible extends VercelOfOpenAI {
  provider(settings) {
    return createOpenAICompatible(settings);
  }
}

export class VercelByMessages extends Vercel {
  provider(settings) {
    return createAnthropic(settings);
  }
}
