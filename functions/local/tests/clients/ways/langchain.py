"""LangChain, whose messages are put together from chunks and sent again by the caller."""

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from .asked import QUESTION, TEMPERATURE, WEATHER, Answer, get_weather


class LangChain:
    errors = openai

    def __init__(self, gateway):
        self.gateway = gateway

    def error(self, status):
        names = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError"}
        return getattr(self.errors, names[status])

    def say(self, model):
        return self.model(model).invoke(QUESTION).text

    def stream(self, model):
        return [chunk.text for chunk in self.model(model).stream(QUESTION) if chunk.text]

    def leave(self, model):
        chunks = self.model(model).stream(QUESTION)
        while not next(chunks).text:
            pass
        chunks.close()

    def use_tool(self, model):
        asked = self.model(model).bind_tools([get_weather])
        turns = [HumanMessage(WEATHER)]
        turns.append(self.streamed(asked, turns))
        results = [get_weather(**call["args"]) for call in turns[-1].tool_calls]
        turns += [ToolMessage(result, tool_call_id=call["id"]) for result, call in zip(results, turns[-1].tool_calls)]
        return results, self.streamed(asked, turns).text

    def streamed(self, asked, turns):
        chunks = list(asked.stream(turns))
        return sum(chunks[1:], chunks[0])

    def parse(self, model):
        return self.model(model).with_structured_output(Answer, method="json_schema").invoke(QUESTION)

    def wrong(self, model):
        return self.model(model, temperature=TEMPERATURE).invoke(QUESTION)


class LangChainByChat(LangChain):
    def model(self, name, **more):
        return self.gateway.client(ChatOpenAI, model=name, stream_usage=True, **more)

    def embed(self, name, texts):
        # Else it sends tokens, for which it fetches a table from the internet.
        client = self.gateway.client(OpenAIEmbeddings, model=name, check_embedding_ctx_length=False)
        return client.embed_documents(texts)


class LangChainByResponses(LangChain):
    def model(self, name, **more):
        return self.gateway.client(ChatOpenAI, model=name, use_responses_api=True, **more)


class LangChainByMessages(LangChain):
    errors = anthropic

    def model(self, name, **more):
        return self.gateway.anthropic(ChatAnthropic, model=name, max_tokens=500, **more)
