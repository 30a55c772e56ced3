"""The OpenAI Agents SDK, which runs the loop of tools by itself."""

import asyncio

import agents
import openai

from .asked import QUESTION, TEMPERATURE, WEATHER, Answer, get_weather

agents.set_tracing_disabled(True)
ERRORS = {400: openai.BadRequestError, 401: openai.AuthenticationError, 404: openai.NotFoundError, 429: openai.RateLimitError}


class Agents:
    def __init__(self, gateway):
        self.gateway = gateway

    def error(self, status):
        return ERRORS[status]

    def agent(self, model, **more):
        client = self.gateway.client(openai.AsyncOpenAI)
        return agents.Agent(name="Helper", instructions="Be brief.", model=self.kind(model, client), **more)

    def say(self, model):
        return agents.Runner.run_sync(self.agent(model), QUESTION).final_output

    def stream(self, model, at_most=None):
        async def pieces():
            run = agents.Runner.run_streamed(self.agent(model), QUESTION)
            got = []
            async for event in run.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    got.append(event.data.delta)
                    if len(got) == at_most:
                        run.cancel()
            return got
        return asyncio.run(pieces())

    def leave(self, model):
        self.stream(model, at_most=1)

    def use_tool(self, model):
        async def used():
            agent = self.agent(model, tools=[agents.function_tool(get_weather)])
            run = agents.Runner.run_streamed(agent, WEATHER, max_turns=3)
            async for _ in run.stream_events():
                pass
            return [item.output for item in run.new_items if item.type == "tool_call_output_item"], run.final_output
        return asyncio.run(used())

    def parse(self, model):
        return agents.Runner.run_sync(self.agent(model, output_type=Answer), QUESTION).final_output

    def wrong(self, model):
        settings = agents.ModelSettings(temperature=TEMPERATURE)
        return agents.Runner.run_sync(self.agent(model, model_settings=settings), QUESTION)


class AgentsByResponses(Agents):
    kind = agents.OpenAIResponsesModel


class AgentsByChat(Agents):
    kind = agents.OpenAIChatCompletionsModel
