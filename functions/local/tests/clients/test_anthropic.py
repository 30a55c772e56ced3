"""The official `anthropic` client, unchanged, against the real binary."""

import asyncio
import json
from typing import List

import anthropic
import pydantic
import pytest

ASK = [{"role": "user", "content": "What is an API?"}]
BOTH = ["double/ok", "claude/ok"]
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(gateway):
    return gateway.anthropic()


def say(client, model, **more):
    return client.messages.create(**{"model": model, "max_tokens": 500, "messages": ASK, **more})


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


# ---- Answers

@pytest.mark.parametrize("model", ["auto", "cheap", "reasoning", "sim/cheap", *BOTH])
def test_a_whole_message(client, model):
    message = say(client, model, system="Be brief.", metadata={"user_id": "u-1"})
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn") and message.id
    assert message.model == {"auto": "sim/cheap", "cheap": "sim/cheap", "reasoning": "sim/reasoning"}.get(model, model)
    assert len(text_of(message)) > 20 and message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message._request_id


@pytest.mark.parametrize("model", ["auto", "reasoning", *BOTH])
def test_a_stream_says_what_the_whole_message_says(client, model):
    whole = say(client, model)
    with client.messages.stream(model=model, max_tokens=500, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final) == text_of(whole) and final.model == whole.model
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)
    assert final.usage.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("model", BOTH)
def test_every_event_comes_in_its_order(client, model):
    kinds = [event.type for event in say(client, model, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"] and len(kinds) > 10
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}


def test_the_async_client_whole_and_streamed_and_many_at_once(gateway):
    async def ask():
        async with gateway.anthropic(anthropic.AsyncAnthropic) as client:
            async def streamed(model):
                async with client.messages.stream(model=model, max_tokens=500, messages=ASK) as stream:
                    return text_of(await stream.get_final_message())
            whole = [say(client, model) for model in BOTH * 10]
            return await asyncio.gather(*whole), await asyncio.gather(*(streamed(model) for model in BOTH * 10))
    whole, streamed = asyncio.run(ask())
    assert {text_of(message) for message in whole} == set(streamed) and len(set(streamed)) == 1


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_can_be_left_early(client, model):
    with client.messages.stream(model=model, max_tokens=500, messages=ASK) as stream:
        assert next(iter(stream)).type == "message_start"
    assert say(client, model).content


def test_tokens_of_the_cache_and_of_thoughts_are_told_as_the_provider_told_them(client):
    usage = say(client, "claude/cached-2+written-1+say:one").usage
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (2, 1)
    assert usage.cache_creation.ephemeral_5m_input_tokens == 1
    assert say(client, "double/cached-3").usage.cache_read_input_tokens == 3
    assert say(client, "double/reasoning-5").usage.output_tokens_details.thinking_tokens == 5


def test_thoughts_come_with_their_signature_and_go_back_with_it(client):
    with client.messages.stream(model="claude/reasoning-5", max_tokens=500, messages=ASK) as stream:
        first = stream.get_final_message()
    assert first.content[0].type == "thinking" and first.content[0].signature.startswith("sig-double-")
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And?"}]
    assert text_of(say(client, "claude/reasoning-5", messages=turns))
    forged = [{"type": "thinking", "thinking": "", "signature": "forged"}, {"type": "text", "text": "x"}]
    with pytest.raises(anthropic.BadRequestError, match="signature"):
        say(client, "claude/reasoning-5", messages=[*ASK, {"role": "assistant", "content": forged}, ASK[0]])


def test_what_a_beta_asks_for_reaches_the_provider_as_it_is(client):
    blocks = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    message = client.beta.messages.create(
        model="claude/echo", max_tokens=500, messages=[{"role": "user", "content": blocks}], betas=["context-1m-2025-08-07"])
    received = json.loads(text_of(message))
    assert received["messages"][0]["content"] == blocks and received["model"] == "echo"


# ---- Tools and structure

@pytest.mark.parametrize("model", ["auto", "double/tools", "claude/tools"])
def test_a_streamed_tool_is_called_and_its_result_answered(client, model):
    turns = [{"role": "user", "content": "What is the weather in Paris? Call get_weather."}]
    with client.messages.stream(model=model, max_tokens=500, messages=turns, tools=[WEATHER]) as stream:
        partial = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert (message.stop_reason, call.name) == ("tool_use", "get_weather") and 1 <= call.input["days"] <= 9
    assert json.loads("".join(partial)) == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
    turns += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert say(client, model, messages=turns, tools=[WEATHER]).content


class Step(pydantic.BaseModel):
    explanation: str
    output: str


class Solution(pydantic.BaseModel):
    steps: List[Step]
    answer: str


class Answer(pydantic.BaseModel):
    answer: str


@pytest.mark.parametrize("model, shape", [("auto", Solution), ("sim/reasoning", Solution), ("double/json", Answer), ("claude/json", Answer)])
def test_an_answer_is_parsed_into_a_model(client, model, shape):
    message = client.messages.parse(model=model, max_tokens=500, messages=ASK, output_format=shape)
    assert isinstance(message.parsed_output, shape)
    with client.messages.stream(model=model, max_tokens=500, messages=ASK, output_format=shape) as stream:
        assert isinstance(stream.get_final_message().parsed_output, shape)


# ---- Errors

@pytest.mark.parametrize("model, kind, code", [
    ("nobody/has", anthropic.NotFoundError, "model_not_found"),
    ("claude/context-overflow", anthropic.BadRequestError, "context_length_exceeded"),
    ("double/context-overflow", anthropic.BadRequestError, "context_length_exceeded"),
    ("claude/status-500", anthropic.InternalServerError, "all_candidates_failed"),
    ("claude/status-529", anthropic.InternalServerError, "all_candidates_failed"),
    ("claude/status-401", anthropic.InternalServerError, "all_candidates_failed"),
    ("claude/insufficient-quota", anthropic.InternalServerError, "all_candidates_failed"),
])
def test_errors_have_the_clients_own_types(client, model, kind, code):
    with pytest.raises(kind) as caught:
        say(client, model)
    error = caught.value.body["error"]
    assert (caught.value.body["type"], error["details"]["error_code"]) == ("error", code)
    assert caught.value.request_id and "LEAK" not in str(caught.value)


def test_a_wrong_key_a_wrong_field_and_a_wrong_path(gateway, client):
    with pytest.raises(anthropic.AuthenticationError):
        say(gateway.anthropic(api_key="gw_live_wrong"), "auto")
    with pytest.raises(anthropic.BadRequestError) as caught:
        say(client, "auto", extra_body={"temperature": 2})
    assert caught.value.body["error"]["param"] == "temperature"
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.post("/v1/messages/batches", body={"requests": []}, cast_to=object)
    assert caught.value.body["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("model", ["double/cut", "claude/cut", "claude/error-event", "claude/reset-mid", "claude/malformed", "claude/cut-clean"])
def test_a_stream_that_breaks_off_raises(client, model):
    with pytest.raises(anthropic.APIStatusError) as caught:
        for event in say(client, model, stream=True):
            assert event.type != "message_stop"
    assert caught.value.body["type"] == "error" and "LEAK" not in str(caught.value)


def test_a_quota_is_a_rate_limit_error_that_is_not_tried_again(start, naps):
    gateway = start('[tenant_defaults.limits]\ndaily_requests = 1\n')
    client = gateway.anthropic(max_retries=2)
    assert say(client, "double/ok").content
    with pytest.raises(anthropic.RateLimitError) as caught:
        say(client, "double/ok")
    assert caught.value.body["error"]["details"]["error_code"] == "quota_exceeded" and naps == []


# ---- Beside messages

def test_tokens_are_counted_by_the_provider_or_estimated(client):
    counted = client.messages.count_tokens(model="claude/ok", messages=ASK, system="Be brief.", tools=[WEATHER])
    assert counted.input_tokens == 9
    assert client.messages.count_tokens(model="double/ok", messages=ASK).input_tokens > 9


def test_models_are_listed(client):
    models = list(client.models.list())
    names = [model.id for model in models]
    assert {"auto", "cheap", "claude/ok", "sim/cheap"} <= set(names)
    assert all(model.type == "model" and model.created_at.year == 1970 for model in models)
    model = client.models.retrieve("claude/ok")
    assert (model.id, model.max_input_tokens) == ("claude/ok", 131072)
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody/has")


# ---- OpenAI's client in front of Anthropic's format

@pytest.mark.parametrize("stream", [False, True])
def test_openais_client_reaches_a_provider_of_messages(gateway, stream):
    client = gateway.client()
    if not stream:
        answer = client.chat.completions.create(model="claude/ok", messages=ASK, user="ann@example.com")
        assert answer.choices[0].finish_reason == "stop" and len(answer.choices[0].message.content) > 20
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
        return
    chunks = list(client.chat.completions.create(
        model="claude/ok", messages=ASK, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens > 0 and chunks[-2].choices[0].finish_reason == "stop"


def test_openais_client_has_its_tools_called_and_its_schema_kept_by_a_provider_of_messages(gateway):
    client = gateway.client()
    function = {"name": "get_weather", "parameters": WEATHER["input_schema"]}
    tools = [{"type": "function", "function": function}]
    with client.chat.completions.stream(model="claude/tools", messages=ASK, tools=tools) as events:
        list(events)
        message = events.get_final_completion().choices[0].message
    [call] = message.tool_calls
    assert json.loads(call.function.arguments)["days"] == 3
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    calls = [{"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}]
    turns = [*ASK, {"role": "assistant", "tool_calls": calls}, result]
    assert client.chat.completions.create(model="claude/tools", messages=turns, tools=tools).choices
    answer = client.chat.completions.parse(model="claude/json", messages=ASK, response_format=Answer)
    assert isinstance(answer.choices[0].message.parsed, Answer)
