"""Client libraries, unchanged, by every door that they know, in front of providers of every format (see `ways`)."""

import pytest
from conftest import FORMATS
from ways.agents_sdk import AgentsByChat, AgentsByResponses
from ways.asked import Answer
from ways.langchain import LangChainByChat, LangChainByMessages, LangChainByResponses
from ways.lite import LiteLLMByChat, LiteLLMByMessages, LiteLLMByResponses
from ways.pydantic_agents import PydanticAIByChat, PydanticAIByMessages, PydanticAIByResponses

WAYS = [
    AgentsByChat, AgentsByResponses, LangChainByChat, LangChainByMessages, LangChainByResponses, LiteLLMByChat,
    LiteLLMByMessages, LiteLLMByResponses, PydanticAIByChat, PydanticAIByMessages, PydanticAIByResponses,
]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # LiteLLM has many for itself.
every_way = pytest.mark.parametrize("way", WAYS)
every_provider = pytest.mark.parametrize("provider", FORMATS)


@every_way
@every_provider
def test_an_answer_is_whole_and_its_stream_says_the_same(gateway, way, provider):
    client = way(gateway)
    text = client.say(f"{provider}/ok")
    pieces = client.stream(f"{provider}/ok")
    assert "promise" in text and "".join(pieces) == text and len(pieces) > 5


@every_way
@every_provider
def test_a_streamed_call_of_a_tool_is_answered_and_the_next_stream_has_the_result(gateway, way, provider):
    results, text = way(gateway).use_tool(f"{provider}/tools-once")
    assert results == ["3 days of sun: weather in Paris"] and "promise" in text


@every_way
@every_provider
def test_an_answer_is_parsed(gateway, way, provider):
    assert way(gateway).parse(f"{provider}/json") == Answer(answer="Forty-two.")


@pytest.mark.parametrize("way", [LangChainByChat, LiteLLMByChat, PydanticAIByChat])
@pytest.mark.parametrize("model", ["ok", "vectors-floats"])
def test_texts_are_embedded(gateway, client, way, model):
    texts = ["What is an API?", "🙂"]
    told = client.embeddings.create(model=f"vectors/{model}", input=texts).data
    vectors = way(gateway).embed(f"vectors/{model}", texts)
    assert [list(vector) for vector in vectors] == [pytest.approx(item.embedding) for item in told]


@every_way
def test_errors_are_of_the_types_that_a_user_catches(gateway, way):
    def raised(status, ask, *, by):
        with pytest.raises(way.error(by, status)) as caught:
            ask()
        assert caught.value.status_code == status and "LEAK" not in str(caught.value)
        return caught.value

    client = way(gateway)
    raised(404, lambda: client.say("nobody/has"), by=client)
    assert "temperature" in str(raised(400, lambda: client.wrong("double/ok"), by=client))
    stranger = gateway.tenant()
    stranger.key = gateway.key[:-1] + ("a" if gateway.key[-1] != "a" else "b")
    raised(401, lambda: way(stranger).say("double/ok"), by=client)
    limited = way(gateway.tenant(daily_requests=1))
    limited.say("double/ok")
    assert "quota" in str(raised(429, lambda: limited.say("double/ok"), by=client))


@every_way
@every_provider
def test_a_stream_that_is_left_is_settled(gateway, way, provider):
    tenant = gateway.tenant()
    way(tenant).leave(f"{provider}/drip-20+length")
    receipt = tenant.settled()
    [attempt] = receipt["attempts"]
    assert attempt["outcome"] == "client_gone" and receipt["usage"]["output_tokens"] > 5
