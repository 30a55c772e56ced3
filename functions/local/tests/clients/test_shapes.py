"""What coding agents send, as their command lines were seen to send it (`shapes`), and what they need to have back."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import FORMATS, PATIENCE_S

every_provider = pytest.mark.parametrize("provider", FORMATS)


def shape(name):
    return json.loads((Path(__file__).parent / "shapes" / f"{name}.json").read_text())


def ask(gateway, shape, **fields):
    """The body of the answer to such a request with other fields."""
    request = urllib.request.Request(
        gateway.root + shape["path"], json.dumps({**shape["body"], **fields}).encode(),
        {**shape["headers"], "authorization": f"Bearer {gateway.key}", "content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def events_of(gateway, shape, **fields):
    lines = ask(gateway, shape, **fields).splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def refused(gateway, shape, **fields):
    """The status, the headers and the body of a refusal."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(gateway, shape, **fields)
    return caught.value.status, caught.value.headers, json.load(caught.value)


def spent(gateway):
    """The gateway as a tenant sees it that may ask nothing more."""
    return gateway.tenant(daily_requests=0)


# ---- Claude Code

def text_of_message(events):
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def of_message(events):
    """The calls of a message, its text, and why it ended."""
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    begun = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    partial = "".join(event["delta"].get("partial_json", "") for event in events if event["type"] == "content_block_delta")
    calls = [{**block, "input": json.loads(partial)} for block in begun if block["type"] == "tool_use"]
    [end] = [event for event in events if event["type"] == "message_delta"]
    usage = {**events[0]["message"]["usage"], **end["usage"]}
    assert usage["output_tokens"] > 0 and usage["input_tokens"] > 20
    return calls, text_of_message(events), end["delta"]["stop_reason"]


@every_provider
def test_claude_code_has_its_tools_called_and_goes_on(gateway, provider):
    code = shape("claude_code")
    model = f"{provider}/tools-once+reasoning-5"
    [call], text, reason = of_message(events_of(gateway, code, model=model))
    assert (call["name"], call["input"]["days"], text, reason) == ("Edit", 3, "", "tool_use")
    result = {"type": "tool_result", "tool_use_id": call["id"], "is_error": True,
              "content": "<tool_use_error>no such file</tool_use_error>", "cache_control": {"type": "ephemeral"}}
    turns = [*code["body"]["messages"], {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    calls, text, reason = of_message(events_of(gateway, code, model=model, messages=turns))
    assert (calls, reason) == ([], "end_turn") and "promise" in text


def test_claude_code_is_routed(gateway):
    events = events_of(gateway, shape("claude_code"), model="auto")
    assert events[0]["message"]["model"].startswith("sim/") and of_message(events)[2] in ("tool_use", "end_turn")


@pytest.mark.parametrize("provider", ["response", "claude", "gemini"])
def test_claude_code_is_answered_by_a_model_that_does_not_think(gateway, provider):
    code = shape("claude_code")
    assert "promise" in of_message(events_of(gateway, code, model=f"{provider}/ok"))[1]


def test_claude_code_is_told_that_a_model_does_not_think_where_the_tenant_wants_it_told(gateway):
    strict = gateway.tenant(settings={"drop_unknown_effort": False})
    status, _, told = refused(strict, shape("claude_code"), model="response/ok")
    assert status == 400 and "reasoning" in told["error"]["message"]


def test_claude_code_counts_tokens_and_is_told_of_errors_in_its_words(gateway):
    code = shape("claude_code")
    code["body"] = {"messages": [{"role": "user", "content": "foo"}]}
    code["path"] = "/v1/messages/count_tokens?beta=true"
    for model in ("claude/ok", "double/ok"):
        assert json.loads(ask(gateway, code, model=model))["input_tokens"] > 3
    code = shape("claude_code")
    assert refused(gateway, code, model="nobody/has")[2]["error"]["type"] == "not_found_error"
    status, _, told = refused(gateway, code, model="claude/status-529+reasoning-5")
    assert (status, told["error"]["type"]) == (502, "api_error")
    status, headers, told = refused(spent(gateway), code, model="claude/reasoning-5")
    assert (status, told["error"]["type"]) == (429, "rate_limit_error")
    assert headers["x-should-retry"] == "false" and int(headers["retry-after"]) > 0


# ---- Codex

def of_response(events):
    """The items of a Response, which Codex takes one by one, and its text."""
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert events[-1]["response"]["usage"]["total_tokens"] > 20 and events[-1]["response"]["id"]
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    return items, "".join(part["text"] for item in items if item["type"] == "message" for part in item["content"])


@pytest.mark.parametrize("model", ["tools-once", "tools-once+reasoning-5"])
@every_provider
def test_codex_has_its_tools_called_and_goes_on(gateway, provider, model):
    codex = shape("codex")
    items, text = of_response(events_of(gateway, codex, model=f"{provider}/{model}"))
    [call] = [item for item in items if item["type"] == "function_call"]
    assert (call["name"], json.loads(call["arguments"])["days"], text) == ("exec", 3, "")
    result = {"type": "function_call_output", "id": "fco_1", "call_id": call["call_id"], "output": "no such command"}
    turns = [*codex["body"]["input"], *items, result]
    items, text = of_response(events_of(gateway, codex, model=f"{provider}/{model}", input=turns))
    assert "promise" in text and items[-1]["type"] == "message"


# How it offers its tools for models that it knows: a search that it does itself, and all of them as an item.
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
CUSTOM = {"type": "custom", "name": "patch", "description": "Changes files", "format": GRAMMAR}
SEARCH = {
    "type": "tool_search", "execution": "client", "description": "Finds a tool",
    "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("manner", ["search", "item"])
def test_codex_offers_a_model_that_it_knows_tools_that_only_responses_have(gateway, manner):
    codex = shape("codex")
    body = codex["body"]
    body["reasoning"] = {"effort": "low", "context": "all_turns"}
    body["tools"] += [CUSTOM, SEARCH]
    if manner == "item":
        offered = {"type": "namespace", "name": "functions", "description": "", "tools": [body["tools"][0], CUSTOM]}
        body["input"].insert(0, {"type": "additional_tools", "id": "at_1", "role": "developer", "tools": [offered]})
        del body["tools"]
    items, _ = of_response(events_of(gateway, codex, model="response/tools-once+reasoning-5"))
    assert [item["type"] for item in items] == ["reasoning", "function_call"]
    result = {"type": "function_call_output", "call_id": items[-1]["call_id"], "output": "none"}
    found = [{"type": "tool_search_call", "execution": "client", "call_id": "c", "status": "completed", "arguments": {}},
             {"type": "tool_search_output", "execution": "client", "call_id": "c", "status": "completed", "tools": []}]
    turns = [*body["input"], *items, result, *found]
    assert "promise" in of_response(events_of(gateway, codex, model="response/tools-once+reasoning-5", input=turns))[1]
    status, _, told = refused(gateway, codex, model="double/reasoning-5")
    assert (status, told["error"]["param"]) == (400, "tools")


def test_codex_is_told_of_errors_in_its_words(gateway):
    codex = shape("codex")
    assert refused(gateway, codex, model="nobody/has")[2]["error"]["code"] == "model_not_found"
    status, headers, told = refused(spent(gateway), codex, model="double/ok")
    assert (status, told["error"]["type"]) == (429, "insufficient_quota") and int(headers["retry-after"]) > 0
    for model in ("response/cut", "double/cut"):
        events = events_of(gateway, codex, model=model)
        assert events[-1]["type"] == "response.failed" and not any(event["type"] == "response.completed" for event in events)
