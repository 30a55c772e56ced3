"""The official `openai` client, unchanged, against the real binary."""

import asyncio
import json
from typing import List

import openai
import pydantic
import pytest

ASK = [{"role": "user", "content": "What is an API?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def stream(client, model, **more):
    return list(client.chat.completions.create(model=model, messages=ASK, stream=True, **more))


# ---- Answers

@pytest.mark.parametrize("model", ["auto", "cheap", "reasoning", "sim/cheap", "double/ok"])
def test_a_whole_answer(client, model):
    answer = client.chat.completions.create(model=model, messages=ASK)
    assert answer.object == "chat.completion" and answer.id
    assert answer.model == {"auto": "sim/cheap", "cheap": "sim/cheap", "reasoning": "sim/reasoning"}.get(model, model)
    assert answer.choices[0].message.role == "assistant" and len(answer.choices[0].message.content) > 20
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", ["auto", "reasoning", "double/ok"])
def test_a_stream_says_what_the_whole_answer_says(client, model):
    whole = client.chat.completions.create(model=model, messages=ASK)
    chunks = stream(client, model)
    assert text_of(chunks) == whole.choices[0].message.content
    assert all(chunk.object == "chat.completion.chunk" and chunk.model == whole.model for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks), "usage that nobody asked for"


@pytest.mark.parametrize("model", ["auto", "double/ok", "double/cached-3", "double/reasoning-5"])
def test_a_stream_ends_with_its_usage_if_that_is_asked_for(client, model):
    whole = client.chat.completions.create(model=model, messages=ASK)
    chunks = stream(client, model, stream_options={"include_usage": True})
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage


def test_a_stream_can_be_left_early(client, gateway):
    with client.chat.completions.create(model="auto", messages=ASK, stream=True) as chunks:
        assert next(iter(chunks)).object == "chat.completion.chunk"
    assert client.chat.completions.create(model="auto", messages=ASK).choices


def test_the_async_client_whole_and_streamed_and_many_at_once(gateway):
    async def ask():
        async with gateway.client(openai.AsyncOpenAI) as client:
            async def streamed():
                chunks = await client.chat.completions.create(model="double/ok", messages=ASK, stream=True)
                return text_of([chunk async for chunk in chunks])
            whole = [client.chat.completions.create(model="double/ok", messages=ASK) for _ in range(20)]
            return await asyncio.gather(*whole), await asyncio.gather(*(streamed() for _ in range(20)))
    whole, streamed = asyncio.run(ask())
    assert {answer.choices[0].message.content for answer in whole} == set(streamed) and len(set(streamed)) == 1


def test_several_answers_to_one_question(client):
    answer = client.chat.completions.create(model="sim/cheap", messages=ASK, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    chunks = stream(client, "double/ok", n=3)
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1, 2}
    assert sum(choice.finish_reason == "stop" for chunk in chunks for choice in chunk.choices) == 3


@pytest.mark.parametrize("model", ["cheap", "double/ok"])
def test_log_probabilities_come_when_they_are_asked_for_and_only_then(client, model):
    answer = client.chat.completions.create(model=model, messages=ASK, logprobs=True, top_logprobs=1)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 1 for token in tokens)
    assert client.chat.completions.create(model=model, messages=ASK).choices[0].logprobs is None
    chunks = stream(client, model, logprobs=True)
    assert sum(len(choice.logprobs.content) for chunk in chunks for choice in chunk.choices if choice.logprobs) == len(tokens)
    assert all(choice.logprobs is None for chunk in stream(client, model) for choice in chunk.choices)


def test_a_bound_on_the_answer_cuts_it_and_says_so(client):
    for name in ("max_tokens", "max_completion_tokens"):
        answer = client.chat.completions.create(model="sim/cheap", messages=ASK, **{name: 3})
        assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)


def test_images_and_unknown_fields_reach_the_provider_and_unknown_fields_come_back(client):
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}]
    answer = client.chat.completions.create(
        model="double/echo", messages=[{"role": "user", "content": parts}], extra_body={"x_unknown": {"price": 1.10}},
        seed=7, user="zaphod", stop=["\n\n"], metadata={"a": "b"}, service_tier="auto", reasoning_effort="low")
    received = json.loads(answer.choices[0].message.content)
    assert received["messages"][0]["content"] == parts
    assert received["model"] == "echo" and received["x_unknown"] == {"price": 1.10}
    assert (received["seed"], received["user"], received["stop"], received["metadata"]) == (7, "zaphod", ["\n\n"], {"a": "b"})
    extra = client.chat.completions.create(model="double/extra", messages=ASK)
    assert extra.model_extra["x_provider"]["a"] == 1.10


# ---- Tools and structure

@pytest.mark.parametrize("model", ["auto", "sim/cheap"])
def test_a_tool_is_called_and_its_result_answered(client, model):
    messages = [{"role": "user", "content": "What is the weather in Paris? Call get_weather."}]
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls" and message.content is None
    [call] = message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert call.type == "function" and call.function.name == "get_weather" and 1 <= arguments["days"] <= 9
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"}]
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].message.content


@pytest.mark.parametrize("model", ["sim/cheap", "double/tools"])
def test_a_streamed_tool_call_comes_in_fragments_that_fit_together(client, model):
    chunks = list(client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Weather in Paris: get_weather"}], tools=[WEATHER], stream=True,
        tool_choice="required"))
    fragments = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert fragments[0].id and fragments[0].function.name == "get_weather" and len(fragments) > 2
    assert all(fragment.index == 0 for fragment in fragments)
    assert isinstance(json.loads("".join(fragment.function.arguments or "" for fragment in fragments)), dict)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


class Step(pydantic.BaseModel):
    explanation: str
    output: str


class Solution(pydantic.BaseModel):
    steps: List[Step]
    answer: str
    certain: bool


@pytest.mark.parametrize("model", ["auto", "sim/cheap", "sim/reasoning"])
def test_an_answer_is_parsed_into_a_model(client, model):
    answer = client.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": "solve 8x + 7 = -23"}], response_format=Solution)
    assert isinstance(answer.choices[0].message.parsed, Solution)


def test_a_streamed_answer_is_parsed_into_a_model(client):
    with client.chat.completions.stream(model="sim/cheap", messages=ASK, response_format=Solution) as events:
        kinds = [event.type for event in events]
        final = events.get_final_completion()
    assert "content.delta" in kinds and kinds[-1] == "content.done"
    assert isinstance(final.choices[0].message.parsed, Solution)


def test_json_mode(client):
    answer = client.chat.completions.create(model="sim/cheap", messages=ASK, response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


# ---- Headers, names, failover

def test_headers_say_what_was_done(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=ASK)
    headers = raw.headers
    assert raw.parse().choices[0].message.content
    assert (headers["x-gateway-model"], headers["x-gateway-tier"], headers["x-gateway-intent"]) == ("sim/cheap", "cheap", "simple_question")
    assert headers["x-gateway-intent-source"] == "embedding" and 0 < float(headers["x-gateway-intent-confidence"]) <= 1
    assert (headers["x-gateway-attempts"], headers["x-gateway-failover"], headers["x-gateway-upgraded"]) == ("1", "false", "false")
    assert headers["x-gateway-cache"] == "bypass" and float(headers["x-gateway-overhead-ms"]) >= 0
    receipt = gateway.receipt(raw.request_id)
    assert receipt["cost_usd"] == headers["x-gateway-cost-usd"] and receipt["model"] == "sim/cheap"
    hard = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "Design a scalable chat system"}])
    assert (hard.headers["x-gateway-tier"], hard.headers["x-gateway-intent"]) == ("reasoning", "architecture_review")


def test_an_answers_request_id_is_where_the_client_looks_for_it(client):
    assert len(client.chat.completions.create(model="auto", messages=ASK)._request_id) == 26


def test_the_second_of_two_equal_questions_is_a_hit(start):
    client = start().client()
    ask = client.chat.completions.with_raw_response.create
    first, second = ask(model="cheap", messages=ASK), ask(model="cheap", messages=ASK)
    assert [answer.headers["x-gateway-cache"] for answer in (first, second)] == ["miss", "hit"]
    assert first.parse() == second.parse() and int(second.headers["age"]) >= 0
    whole = [chunk.model_dump() for chunk in stream(client, "cheap")]
    assert [chunk.model_dump() for chunk in stream(client, "cheap")] == whole


def test_models_are_listed_and_retrieved(client):
    names = [model.id for model in client.models.list()]
    assert {"auto", "cheap", "reasoning", "sim/cheap", "double/ok"} <= set(names) and len(names) == len(set(names))
    for name in ("auto", "cheap", "sim/cheap", "double/ok"):
        assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nope")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("streamed", [False, True])
def test_of_a_list_of_models_the_first_that_works_answers(start, streamed):
    # Nothing is known of the models' health yet, and none is tried out of turn: they are asked in their order.
    gateway = start("[health]\nrefresh_percent = 0\n")
    raw = gateway.client().chat.completions.with_raw_response.create(
        model="double/status-500", messages=ASK, stream=streamed, extra_body={"models": ["sim/fail-100", "double/ok"]})
    answer = raw.parse()
    if streamed:
        assert "promise" in text_of(list(answer))
    else:
        assert answer.model == "double/ok"
    assert (raw.headers["x-gateway-model"], raw.headers["x-gateway-failover"]) == ("double/ok", "true")
    attempts = gateway.receipt(raw.headers["x-request-id"])["attempts"]
    assert {attempt["model"] for attempt in attempts} == {"double/status-500", "sim/fail-100", "double/ok"}
    assert attempts[-1]["outcome"] == "ok" and all(attempt["status"] == 500 for attempt in attempts[:-1])


# ---- Errors

@pytest.mark.parametrize("kind, status, code, param, request_", [
    (openai.BadRequestError, 400, "invalid_request", "temperature", {"temperature": 3}),
    (openai.BadRequestError, 400, "invalid_request", "max_tokens", {"max_tokens": -1}),
    (openai.BadRequestError, 400, "invalid_request", "messages[0].role", {"messages": [{"role": "wizard", "content": "x"}]}),
    (openai.BadRequestError, 400, "invalid_request", "messages", {"messages": []}),
    (openai.BadRequestError, 400, "invalid_request", "x-gateway-cache", {"extra_headers": {"x-gateway-cache": "no-stroe"}}),
    (openai.BadRequestError, 400, "context_length_exceeded", None, {"model": "double/context-overflow"}),
    (openai.BadRequestError, 400, "content_policy_violation", None, {"model": "double/content-filter"}),
    (openai.NotFoundError, 404, "model_not_found", "model", {"model": "gpt-99"}),
    (openai.APIStatusError, 413, "request_too_large", None, {"messages": [{"role": "user", "content": "x" * 11_000_000}]}),
    (openai.InternalServerError, 502, "all_candidates_failed", None, {"model": "sim/fail-100"}),
    (openai.InternalServerError, 502, "all_candidates_failed", None, {"model": "double/status-401"}),
    (openai.InternalServerError, 504, "not_cached", None, {"extra_headers": {"x-gateway-cache": "only-if-cached"}}),
])
@pytest.mark.parametrize("streamed", [False, True])
def test_errors_before_the_first_byte_are_the_clients_own_exceptions(client, kind, status, code, param, request_, streamed):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{"model": "sim/cheap", "messages": ASK, "stream": streamed, **request_})
    error = caught.value
    assert (error.status_code, error.code, error.param) == (status, code, param)
    assert error.type and error.request_id and "LEAK" not in str(error)
    assert error.response.json()["request_id"] == error.request_id


@pytest.mark.parametrize("model", ["sim/cut", "double/cut", "double/cut-clean", "double/reset-mid", "double/malformed"])
def test_a_whole_answer_that_is_cut_is_an_exception(client, model):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=ASK)
    assert (caught.value.status_code, caught.value.code) == (502, "all_candidates_failed")


def test_a_key_that_is_none_is_an_authentication_error(gateway):
    for key in ("sk-nonsense", gateway.key[:-1] + ("a" if gateway.key[-1] != "a" else "b")):
        client = gateway.client(api_key=key)
        for ask in (lambda: client.chat.completions.create(model="auto", messages=ASK), client.models.list):
            with pytest.raises(openai.AuthenticationError) as caught:
                ask()
            assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")
            assert key not in str(caught.value)


def test_what_a_tenant_may_not_use_is_a_permission_error(start):
    client = start('[tenant_defaults]\nallowed_models = ["sim/cheap"]\n').client()
    assert client.chat.completions.create(model="sim/cheap", messages=ASK).choices
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="sim/reasoning", messages=ASK)
    assert (caught.value.code, caught.value.param) == ("model_not_allowed", "model")
    assert [model.id for model in client.models.list()] == ["sim/cheap"]
    client = start("[tenant_defaults]\nenabled = false\n").client()
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.models.list()
    assert caught.value.code == "tenant_disabled"


def test_an_exhausted_quota_is_a_rate_limit_error_that_no_client_retries(start, naps):
    client = start("[tenant_defaults.limits]\ndaily_requests = 3\n").client(max_retries=5)
    for _ in range(3):
        assert client.chat.completions.create(model="sim/cheap", messages=ASK).choices
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="sim/cheap", messages=ASK)
    error = caught.value
    assert (error.code, error.type, error.response.headers["x-should-retry"]) == ("quota_exceeded", "insufficient_quota", "false")
    assert 0 < int(error.response.headers["retry-after"]) <= 86_400
    assert naps == [], "the client tried again"


def test_a_rate_limit_is_retried_by_the_client_after_as_long_as_it_was_told(start, naps):
    client = start("[tenant_defaults.limits]\nrequests_per_minute = 2\n").client(max_retries=2)
    for _ in range(2):
        answer = client.chat.completions.with_raw_response.create(model="sim/cheap", messages=ASK)
    assert (answer.headers["x-ratelimit-limit-requests"], answer.headers["x-ratelimit-remaining-requests"]) == ("2", "0")
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="sim/cheap", messages=ASK)
    assert (caught.value.code, caught.value.type) == ("rate_limited", "requests")
    told = int(caught.value.response.headers["retry-after"])
    assert 0 < told <= 30 and len(naps) == 2 and all(0 < told <= nap <= 30 for nap in naps)


def test_an_outage_is_retried_by_the_client_and_an_error_of_its_own_is_not(gateway, naps):
    client = gateway.client(max_retries=2)
    # Four calls: the gateway itself tries each of the client's tries at most twice.
    assert client.chat.completions.create(model="sim/fail-50", messages=ASK).choices
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="sim/fail-100", messages=ASK)
    assert len(naps) == 2
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="sim/cheap", messages=ASK, n=0)
    assert len(naps) == 2


# ---- The wire

@pytest.mark.parametrize("model", ["sse-comments", "sse-crlf", "sse-nospace", "sse-multiline", "one-byte", "continue", "slow-3", "no-usage"])
def test_however_a_provider_writes_its_stream_the_client_reads_the_same(client, model):
    chunks = stream(client, f"double/{model}")
    assert text_of(chunks) == text_of(stream(client, "double/ok"))
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", ["unicode", "split-utf8"])
def test_no_character_is_torn(client, model):
    whole = client.chat.completions.create(model="double/unicode", messages=ASK).choices[0].message.content
    assert "東京 🙂" in whole and "👩‍👩‍👧" in whole
    assert text_of(stream(client, f"double/{model}")) == whole


@pytest.mark.parametrize("model", ["sim/cut", "double/cut", "double/cut-clean", "double/reset-mid", "double/error-event"])
def test_a_stream_that_is_cut_ends_in_an_exception_and_never_silently(client, gateway, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=ASK, stream=True)
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in raw.parse():
            chunks.append(chunk)
    assert text_of(chunks) and not any(choice.finish_reason for chunk in chunks for choice in chunk.choices)
    assert caught.value.code == "all_candidates_failed" and "LEAK" not in str(caught.value.body)
    assert gateway.receipt(raw.headers["x-request-id"])["status"] == 502

