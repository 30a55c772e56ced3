"""The official `openai` client's Responses, unchanged, against the real binary: in front of models that are called in the
chat format, which the gateway translates to and from, and of models that are called in this very format."""

import json

import openai
import pydantic
import pytest

ASK = "What is an API?"
WEATHER = {
    "type": "function", "name": "get_weather", "description": "The weather of a city", "strict": True,
    "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"], "additionalProperties": False},
}
CHAT_WEATHER = {"type": "function", "function": {name: WEATHER[name] for name in ("name", "description", "parameters")}}


class Solution(pydantic.BaseModel):
    answer: str


@pytest.mark.parametrize("model", ["auto", "reasoning", "sim/cheap", "double/ok", "response/ok"])
def test_a_whole_answer(client, model):
    answer = client.responses.create(model=model, input=ASK, instructions="Be brief.")
    assert answer.object == "response" and answer.status == "completed" and answer.id.startswith("resp_")
    assert answer.model == {"auto": "sim/cheap", "reasoning": "sim/reasoning"}.get(model, model)
    assert len(answer.output_text) > 20 and answer.error is None and answer.incomplete_details is None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0


@pytest.mark.parametrize("model", ["auto", "double/ok", "response/ok", "response/reasoning-5", "response/sse-crlf", "response/one-byte"])
def test_a_stream_is_put_together_to_what_the_whole_answer_says(client, model):
    whole = client.responses.create(model=model, input=ASK)
    with client.responses.stream(model=model, input=ASK) as events:
        told = list(events)
        final = events.get_final_response()
    assert final.output_text == whole.output_text and final.model == whole.model and final.usage == whole.usage
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert (told[0].type, told[1].type, told[-1].type) == ("response.created", "response.in_progress", "response.completed")
    deltas = [event for event in told if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == final.output_text and len(deltas) > 3
    assert deltas[-1].snapshot == final.output_text
    assert [event.text for event in told if event.type == "response.output_text.done"] == [final.output_text]


@pytest.mark.parametrize("model", ["sim/cheap", "double/tools", "response/tools"])
def test_a_tools_round_trip_is_streamed(client, model):
    items = [{"role": "user", "content": "What is the weather in Paris? Call get_weather."}]
    with client.responses.stream(model=model, input=items, tools=[WEATHER]) as events:
        told = list(events)
        final = events.get_final_response()
    [call] = [item for item in final.output if item.type == "function_call"]
    assert call.name == "get_weather" and isinstance(json.loads(call.arguments), dict) and call.call_id
    deltas = [event.delta for event in told if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call.arguments and len(deltas) > 2
    # The client sends back what it got, with the result.
    items += [item.to_dict() for item in final.output]
    items += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 21 degrees"}]
    with client.responses.stream(model=model.replace("tools", "ok"), input=items, tools=[WEATHER]) as events:
        assert len(events.get_final_response().output_text) > 10


@pytest.mark.parametrize("model", ["sim/cheap", "double/json", "response/json"])
def test_an_answer_is_parsed_into_a_model(client, model):
    answer = client.responses.parse(model=model, input="solve 8x + 7 = -23", text_format=Solution)
    assert isinstance(answer.output_parsed, Solution)
    with client.responses.stream(model=model, input="solve 8x + 7 = -23", text_format=Solution) as events:
        assert isinstance(events.get_final_response().output_parsed, Solution)


@pytest.mark.parametrize("model", ["sim/cheap", "response/ok"])
def test_a_bound_on_the_answer_cuts_it_and_says_so(client, model):
    answer = client.responses.create(model=model, input="Tell me a long story.", max_output_tokens=17)
    assert (answer.status, answer.incomplete_details.reason, answer.usage.output_tokens) == ("incomplete", "max_output_tokens", 17)


def test_a_refusal_is_one(client):
    for model in ("response/refusal",):
        answer = client.responses.create(model=model, input=ASK)
        [message] = answer.output
        assert message.content[0].type == "refusal" and "can't help" in message.content[0].refusal


@pytest.mark.parametrize("model, kind", [
    ("nowhere/nothing", openai.NotFoundError), ("response/context-overflow", openai.BadRequestError),
    ("response/status-401", openai.InternalServerError), ("response/429-after-1", openai.InternalServerError),
    ("response/content-filter", openai.BadRequestError)])
def test_errors_are_the_clients_own(client, model, kind):
    with pytest.raises(kind) as whole:
        client.responses.create(model=model, input=ASK)
    with pytest.raises(kind) as streamed:
        client.responses.create(model=model, input=ASK, stream=True)
    assert whole.value.code == streamed.value.code and whole.value.message
    assert "LEAK" not in str(whole.value) + str(streamed.value)


def test_a_wrong_field_is_named(client):
    for fields, param in [
            ({"input": []}, "input"), ({"input": ASK, "background": True}, "background"),
            ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
            ({"input": ASK, "previous_response_id": "resp_1"}, "previous_response_id")]:
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model="auto", **fields)
        assert refused.value.param == param


@pytest.mark.parametrize("model", [f"{where}/{how}" for where in ("double", "response") for how in ("cut", "cut-clean", "reset-mid", "error-event")] + ["response/malformed"])
def test_a_stream_that_breaks_off_ends_in_an_error(client, model):
    with pytest.raises(openai.APIError) as broken:
        with client.responses.stream(model=model, input=ASK) as events:
            for event in events:
                assert event.type != "response.completed"
    assert not isinstance(broken.value, openai.APIConnectionError) and "LEAK" not in str(broken.value)


def test_a_stream_can_be_left_early(client):
    for model in ("auto", "response/ok"):
        with client.responses.create(model=model, input=ASK, stream=True) as events:
            assert next(iter(events)).type == "response.created"
        assert client.responses.create(model=model, input=ASK).output_text


def test_log_probabilities_come_when_they_are_asked_for_and_only_then(client):
    [message] = client.responses.create(model="response/ok", input=ASK, include=["message.output_text.logprobs"]).output
    assert "".join(token.token for token in message.content[0].logprobs) == message.content[0].text
    [message] = client.responses.create(model="response/ok", input=ASK).output
    assert not message.content[0].logprobs


def test_nothing_is_stored_and_thoughts_can_be_sent_again(client):
    sent = json.loads(client.responses.create(model="response/echo", input=ASK).output_text)
    assert sent["store"] is False and "include" not in sent and sent["model"] == "echo"
    answer = client.responses.create(model="response/reasoning-5", input=ASK, reasoning={"effort": "low"})
    [thought, message] = answer.output
    assert thought.type == "reasoning" and thought.encrypted_content and answer.usage.output_tokens_details.reasoning_tokens == 5
    items = [{"role": "user", "content": ASK}, thought.to_dict(), message.to_dict(), {"role": "user", "content": "And?"}]
    assert client.responses.create(model="response/reasoning-5", input=items).output_text
    # Another provider's model gets the conversation without them.
    assert client.responses.create(model="double/ok", input=items).output_text


# ---- Chat clients in front of models that are called in this format

def test_a_chat_client_reaches_such_a_model(client):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK}]
    whole = client.chat.completions.create(model="response/ok", messages=messages)
    chunks = list(client.chat.completions.create(model="response/ok", messages=messages, stream=True, stream_options={"include_usage": True}))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content and whole.choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage and whole.usage.total_tokens > 0


def test_a_chat_clients_tools_go_round_through_such_a_model(client):
    messages = [{"role": "user", "content": "Weather in Paris?"}]
    with client.chat.completions.stream(model="response/tools", messages=messages, tools=[CHAT_WEATHER], reasoning_effort=openai.omit) as events:
        final = events.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    [call] = final.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and isinstance(json.loads(call.function.arguments), dict)
    messages += [final.choices[0].message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    answer = client.chat.completions.create(model="response/ok", messages=messages, tools=[CHAT_WEATHER])
    assert answer.choices[0].message.content


def test_what_such_a_model_cannot_do_for_a_chat_client_is_named(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="response/ok", messages=[{"role": "user", "content": ASK}], n=2)
    assert refused.value.param == "n"
