"""Vectors for the official `openai` client, which asks for base64 by itself."""

import array
import asyncio

import openai
import pytest

TEXTS = ["What is an API?", "Was ist eine Schnittstelle?", "🙂"]
GOOD = ["ok", "vectors-floats", "vectors-backwards", "vectors-bare", "vectors-strict-format"]


def vectors(client, name, **more):
    return client.embeddings.create(**{"model": f"vectors/{name}", "input": TEXTS, **more})


def numbers(item):
    """A vector as 32-bit floats have it, of which JSON shows fewer digits."""
    return list(array.array("f", item.embedding))


@pytest.mark.parametrize("model", GOOD)
def test_a_vector_for_each_text_in_either_form(client, model):
    unasked, asked = vectors(client, model), vectors(client, model, encoding_format="float")
    packed = vectors(client, model, encoding_format="base64")
    assert unasked.object == "list" and unasked.model == f"vectors/{model}"
    assert [item.index for item in unasked.data] == [0, 1, 2]
    assert all(len(item.embedding) == 8 for item in unasked.data)
    assert len({tuple(item.embedding) for item in unasked.data}) == 3
    assert [item.embedding for item in unasked.data] == [numbers(item) for item in asked.data]
    assert all(isinstance(item.embedding, str) and len(item.embedding) == 44 for item in packed.data)
    assert unasked.usage.prompt_tokens == unasked.usage.total_tokens > 0
    one = [vectors(client, model, input=text).data[0].embedding for text in TEXTS]
    assert one == [item.embedding for item in unasked.data], "each is its own text's"


def test_tokens_and_shorter_vectors(client):
    answer = vectors(client, "ok", input=[[1, 2], [3]], dimensions=4, user="u-1")
    assert [len(item.embedding) for item in answer.data] == [4, 4] and answer.usage.prompt_tokens == 3
    assert len(vectors(client, "ok", input=[1, 2, 3]).data) == 1


def test_many_at_once(gateway):
    async def ask():
        async with gateway.client(openai.AsyncOpenAI) as client:
            calls = [vectors(client, "ok", input=[str(number), "same"]) for number in range(40)]
            return await asyncio.gather(*calls)
    answers = asyncio.run(ask())
    assert len({tuple(answer.data[0].embedding) for answer in answers}) == 40
    assert len({tuple(answer.data[1].embedding) for answer in answers}) == 1


@pytest.mark.parametrize("model, wrong, error", [
    ("ok", {"input": ""}, openai.BadRequestError),
    ("ok", {"input": []}, openai.BadRequestError),
    ("ok", {"input": ["a"] * 2049}, openai.BadRequestError),
    ("ok", {"dimensions": 9}, openai.BadRequestError),
    ("ok", {"model": "sim/cheap"}, openai.BadRequestError),
    ("ok", {"model": "auto"}, openai.BadRequestError),
    ("ok", {"model": "vectors/none"}, openai.NotFoundError),
    ("vectors-floats", {"input": [1, 2]}, openai.BadRequestError),
    ("vectors-too-few", {}, openai.InternalServerError),
    ("status-401", {}, openai.InternalServerError),
    ("429-after-1", {}, openai.InternalServerError),
    ("insufficient-quota", {}, openai.InternalServerError),
])
def test_errors_are_the_clients_own(client, model, wrong, error):
    with pytest.raises(error) as raised:
        vectors(client, model, **wrong)
    assert raised.value.request_id and raised.value.body["message"]
    assert "sk-" not in str(raised.value)


def test_a_model_that_makes_vectors_does_not_chat(client):
    with pytest.raises(openai.BadRequestError, match="POST /v1/embeddings"):
        client.chat.completions.create(model="vectors/ok", messages=[{"role": "user", "content": "Hello"}])


def test_what_makes_vectors_is_listed(client):
    assert "vectors/ok" in {model.id for model in client.models.list()}


def test_a_receipt_has_the_attempt(gateway, client):
    answer = client.embeddings.with_raw_response.create(model="vectors/ok", input="What is an API?")
    receipt = gateway.receipt(answer.headers["x-request-id"])
    assert receipt["model"] == "vectors/ok" and receipt["usage"]["input_tokens"] == 4
    assert receipt["cost_usd"] == "0.000004000"
