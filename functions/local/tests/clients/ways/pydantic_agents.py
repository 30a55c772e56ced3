"""pydantic-ai, which runs the loop of tools by itself."""

import asyncio

import anthropic
import openai
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from .asked import QUESTION, TEMPERATURE, WEATHER, Answer, get_weather


class PydanticAI:
    def __init__(self, gateway):
        self.gateway = gateway

    def error(self, status):
        return ModelHTTPError

    def agent(self, model, **more):
        return Agent(self.model(model), instructions="Be brief.", **more)

    def say(self, model):
        return self.agent(model).run_sync(QUESTION).output

    def stream(self, model, at_most=None):
        async def pieces():
            got = []
            async with self.agent(model).run_stream(QUESTION) as run:
                async for piece in run.stream_text(delta=True, debounce_by=None):
                    got.append(piece)
                    if len(got) == at_most:
                        break
            return got
        return asyncio.run(pieces())

    def leave(self, model):
        self.stream(model, at_most=1)

    def use_tool(self, model):
        async def used():
            async with self.agent(model, tools=[get_weather]).run_stream(WEATHER) as run:
                text = await run.get_output()
                parts = [part for message in run.all_messages() for part in message.parts]
                return [part.content for part in parts if isinstance(part, ToolReturnPart)], text
        return asyncio.run(used())

    def parse(self, model):
        return self.agent(model, output_type=NativeOutput(Answer)).run_sync(QUESTION).output

    def wrong(self, model):
        return self.agent(model, model_settings={"temperature": TEMPERATURE}).run_sync(QUESTION)


class PydanticAIByChat(PydanticAI):
    def provider(self):
        return OpenAIProvider(openai_client=self.gateway.client(openai.AsyncOpenAI))

    def model(self, name):
        return OpenAIChatModel(name, provider=self.provider())

    def embed(self, name, texts):
        return Embedder(OpenAIEmbeddingModel(name, provider=self.provider())).embed_documents_sync(texts).embeddings


class PydanticAIByResponses(PydanticAIByChat):
    def model(self, name):
        return OpenAIResponsesModel(name, provider=self.provider())


class PydanticAIByMessages(PydanticAI):
    def model(self, name):
        client = self.gateway.anthropic(anthropic.AsyncAnthropic)
        # What a model can do it goes by the name for, and these are unknown to it.
        profile = ModelProfile(supports_json_schema_output=True)
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client), profile=profile)
