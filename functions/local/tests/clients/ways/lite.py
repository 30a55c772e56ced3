"""LiteLLM as a client, which has all speak chat completions, whatever the door."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # Else it asks the internet for its table of prices.

import litellm

from .asked import QUESTION, TEMPERATURE, WEATHER, Answer, get_weather

TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city for some days.", "parameters": {
        "type": "object", "properties": {"query": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["query", "days"]}}}
ERRORS = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError"}


class LiteLLM:
    def __init__(self, gateway):
        self.gateway = gateway

    def error(self, status):
        return getattr(litellm, ERRORS[status])

    def ask(self, model, messages=({"role": "user", "content": QUESTION},), **more):
        return litellm.completion(
            f"{self.prefix}/{model}", list(messages), api_base=self.address(), api_key=self.gateway.key, num_retries=0,
            max_retries=0, **more)

    def address(self):
        return self.gateway.base_url

    def say(self, model):
        return self.ask(model).choices[0].message.content

    def stream(self, model):
        texts = (chunk.choices[0].delta.content for chunk in self.ask(model, stream=True) if chunk.choices)
        return [text for text in texts if text]

    def leave(self, model):
        chunks = self.ask(model, stream=True)
        while not next(chunks).choices[0].delta.content:
            pass
        self.close(chunks)

    def close(self, chunks):
        chunks.close()

    def use_tool(self, model):
        turns = [{"role": "user", "content": WEATHER}]
        turns.append(self.streamed(model, turns))
        calls = turns[-1].tool_calls
        results = [get_weather(**json.loads(call.function.arguments)) for call in calls]
        turns += [{"role": "tool", "tool_call_id": call.id, "content": result} for call, result in zip(calls, results)]
        return results, self.streamed(model, turns).content

    def streamed(self, model, turns):
        chunks = list(self.ask(model, turns, tools=[TOOL], stream=True))
        return litellm.stream_chunk_builder(chunks, turns).choices[0].message

    def parse(self, model):
        return Answer.model_validate_json(self.ask(model, response_format=Answer).choices[0].message.content)

    def wrong(self, model):
        return self.ask(model, temperature=TEMPERATURE)


class LiteLLMByChat(LiteLLM):
    prefix = "openai"

    def embed(self, model, texts):
        asked = {"api_base": self.address(), "api_key": self.gateway.key, "max_retries": 0}
        return [item["embedding"] for item in litellm.embedding(f"openai/{model}", texts, **asked).data]


class LiteLLMByResponses(LiteLLM):
    prefix = "openai/responses"

    def ask(self, model, *more, **fields):
        # Of a model that is not in its table it thinks that it cannot stream, and makes a stream of the whole answer.
        litellm.register_model({f"openai/{model}": {"litellm_provider": "openai", "mode": "responses"}})
        return super().ask(model, *more, **fields)

    def close(self, chunks):
        chunks.completion_stream.streaming_response.close()  # Its own `close` leaves this connection open.


class LiteLLMByMessages(LiteLLM):
    prefix = "anthropic"

    def address(self):
        return self.gateway.root
