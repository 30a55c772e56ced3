"""Streams that are cut after two thirds, or bring an event that nobody can read, as the official clients put them together: to
the whole text, with one end and the usage of both halves."""

import json

import pytest
from conftest import FREE

ASK = "What is an API?"
MESSAGES = [{"role": "user", "content": ASK}]
BROKEN = ["double/cut-38", "response/cut-38", "claude/cut-38"]
NEXT = ["double/goes-on", "response/goes-on-anew", "claude/goes-on", "gemini/goes-on"]


@pytest.fixture(scope="module")
def gateway(start):
    """One that does not learn to keep away from the models that break off."""
    return start(FREE + "[health]\nleast_samples = 10000\nrefresh_percent = 0\n[breaker]\nconsecutive_failures = 1000\nleast_samples = 10000\n")


@pytest.fixture(scope="module")
def text(gateway):
    return gateway.client().chat.completions.create(model="double/ok", messages=MESSAGES).choices[0].message.content


def is_billed(gateway, request_id, used):
    receipt = gateway.receipt(request_id)
    assert [attempt["kind"] for attempt in receipt["attempts"]] == ["first", "continuation"]
    assert receipt["status"] == 200 and receipt["model"] == receipt["attempts"][1]["model"]
    assert used == (receipt["usage"]["input_tokens"], receipt["usage"]["output_tokens"])


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("second", NEXT)
def test_chat_completions(client, gateway, text, broken, second):
    with client.chat.completions.stream(
            model=broken, messages=MESSAGES, stream_options={"include_usage": True},
            extra_body={"models": [second]}) as events:
        told = list(events)
        final = events.get_final_completion()
    assert final.choices[0].message.content == text and final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.role == "assistant"
    chunks = [event.chunk for event in told if event.type == "chunk"]
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].model == broken and chunks[-1].model == second
    is_billed(gateway, events._response.headers["x-request-id"], (final.usage.prompt_tokens, final.usage.completion_tokens))


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("second", NEXT)
def test_responses(client, gateway, text, broken, second):
    with client.responses.stream(model=broken, input=ASK, extra_body={"models": [second]}) as events:
        told = list(events)
        final = events.get_final_response()
    assert final.output_text == text and final.status == "completed" and final.model == second
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert told[0].response.id == final.id and told[-1].type == "response.completed"
    assert [event.text for event in told if event.type == "response.output_text.done"] == [text]
    is_billed(gateway, events._response.headers["x-request-id"], (final.usage.input_tokens, final.usage.output_tokens))


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("second", NEXT)
def test_messages(gateway, text, broken, second):
    client = gateway.anthropic()
    with client.messages.stream(
            model=broken, max_tokens=900, messages=MESSAGES, extra_body={"models": [second]}) as events:
        told = list(events)
        final = events.get_final_message()
    assert [block.text for block in final.content] == [text] and final.stop_reason == "end_turn"
    assert [event.type for event in told].count("message_start") == 1 and told[-1].type == "message_stop"
    used = final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0)
    is_billed(gateway, events.response.headers["x-request-id"], (used, final.usage.output_tokens))


def test_an_event_that_cannot_be_read_is_left_out(client, gateway, text):
    raw = client.chat.completions.with_raw_response.create(model="double/malformed", messages=MESSAGES, stream=True)
    said = "".join(choice.delta.content or "" for chunk in raw.parse() for choice in chunk.choices)
    assert said == text
    assert "could not be read" in json.dumps(gateway.receipt(raw.headers["x-request-id"])["reasons"])
