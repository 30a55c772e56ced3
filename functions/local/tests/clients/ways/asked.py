"""What every client asks."""

import pydantic

QUESTION = "What is an API?"
WEATHER = "What is the weather in Paris?"
TEMPERATURE = 3  # A model takes at most 2.


class Answer(pydantic.BaseModel):
    """What the double answers to who asks for JSON."""

    answer: str


def get_weather(query: str, days: int) -> str:
    """The weather of a city for some days.

    Args:
        query: which city
        days: how many days
    """
    return f"{days} days of sun: {query}"
