"""What the router is trained on and judged by, as rows of `text`, `intent`, `hard`, `source`.

The project's own texts lie in `data/`. Public sets are not part of the project; a folder with them (see docs/routing.md for
names, sources and licences) is given by `DATA`. Without it only the own sets are there.
"""

import json
import lzma
import os
import random
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN = Path(__file__).resolve().parent / "data"
DATA = Path(os.environ["DATA"]) if os.environ.get("DATA") else None

INTENTS = (
    "greeting simple_question summarization translation extraction rewriting classification creative_writing advice "
    "code_generation debugging code_analysis architecture_review mathematics_reasoning"
).split()
HARD = set(INTENTS[9:])
RENAMED = {
    "math_reasoning": "mathematics_reasoning",
    "data_extraction": "extraction",
    "advice_explanation": "advice",
    "design_review": "architecture_review",
}
# The intents of the 175 tasks of self-instruct's seed, in its order, labelled by us before anything was trained.
LETTERS = dict(zip("GQSTXRKCAPDVHM", INTENTS))
SELF_INSTRUCT = (
    "AQQASAAACAAAAXXQAACACCMAAMXQPCAPACAMQPQXAPRRCMACQCPRAXACCCQC"
    "QPSCSQCXCPAAPACSCCRCAAAMCXCAQCQAKCKACRRACTQAAACQRMQACCKQATAC"
    "QAKCCARAQCAAQAQXMSPPPPAQMAQQKKKKKAKMKKVKQQKQQKKKKKXKKKK"
)
TASKS = {
    "natural_qa": "simple_question",
    "trivia_qa": "simple_question",
    "openbook_qa": "simple_question",
    "arc_challenge": "simple_question",
    "commonsense_qa": "simple_question",
    "math": "mathematics_reasoning",
    "mbpp": "code_generation",
    "agentverse-logicgrid": "mathematics_reasoning",
}
MMLU_MATHS = (
    "abstract_algebra college_mathematics high_school_mathematics elementary_mathematics high_school_statistics "
    "college_physics high_school_physics formal_logic"
).split()
CLINC = {
    "greeting": "greeting goodbye thank_you what_is_your_name are_you_a_bot who_made_you how_old_are_you yes no what_are_your_hobbies",
    "creative_writing": "tell_joke",
    "translation": "translate",
    "simple_question": "definition spelling distance fun_fact measurement_conversion exchange_rate how_busy cook_time oos calculator",
    "advice": "meaning_of_life travel_suggestion restaurant_suggestion meal_suggestion recipe improve_credit_score",
}
# What a row counts: benchmarks are many and much alike, and the prompts of people few and different.
WEIGHTS = {"shipped": 2.0, "seed": 2.0, "own_documents": 0.4, "clinc": 0.1, "gsm8k": 0.03, "humaneval": 0.03, "mmlu": 0.03}


def weight(source):
    return WEIGHTS.get(source, 0.03 if source.startswith("llmrouter_") else 1.0)


def read(path):
    with lzma.open(path, "rt") if str(path).endswith(".xz") else open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def public(name):
    """A public set; nothing where it is not at hand."""
    for end in (".jsonl.xz", ".jsonl"):
        if DATA and (DATA / (name + end)).exists():
            return read(DATA / (name + end))
    return []


def own(name):
    path = OWN / f"{name}.jsonl"
    return [dict(row, source=f"own_{name}") for row in read(path)] if path.exists() else []


def labelled():
    """Prompts with their intent."""
    chance = random.Random(1)
    rows = []

    def add(source, text, intent, **more):
        intent = RENAMED.get(intent, intent)
        rows.append({"source": source, "text": text, "intent": intent, "hard": intent in HARD, **more})

    shipped = tomllib.loads((ROOT / "assets/intents.toml").read_text(encoding="utf-8"))["intents"]
    for intent, spec in shipped.items():
        for text in spec["examples"]:
            add("shipped", text, intent)
    for name in ("documents", "documents_heldout", "languages", "languages_heldout", "prompts", "prompts_heldout", "utterances_heldout"):
        rows += own(name)
    for row in public("seed_intents"):
        add("seed", row["text"], row["intent"])
    arena = {"coding": "code_generation", "math": "mathematics_reasoning", "creative_writing": "creative_writing"}
    for row in public("arena_hard_v2"):
        add("arena", row["text"], arena[row["sub"]], sub=row["sub"])
    for row, letter in zip(public("self_instruct_seed"), SELF_INSTRUCT):
        add("self_instruct", row["text"], LETTERS[letter])
    for row in public("humaneval_prompts"):
        add("humaneval", row["text"], "code_generation")
    gsm8k = public("gsm8k_train_steps")
    for row in chance.sample(gsm8k, min(400, len(gsm8k))):
        add("gsm8k", row["prompt"], "mathematics_reasoning")
    by_task = {}
    for row in public("routing_llmrouter"):
        by_task.setdefault(row["task"], []).append(row["prompt"])
    for task, prompts in by_task.items():
        if task in TASKS:
            for text in chance.sample(prompts, min(150, len(prompts))):
                add(f"llmrouter_{task}", text, TASKS[task])
    mmlu = public("routing_mmlu")
    for row in chance.sample(mmlu, min(900, len(mmlu))):
        add("mmlu", row["prompt"], "mathematics_reasoning" if row["category"] in MMLU_MATHS else "simple_question")
    clinc = {}
    for row in public("clinc150_train"):
        clinc.setdefault(row["label"], []).append(row["text"])
    for intent, labels in CLINC.items():
        for label in labels.split() if clinc else []:
            for text in chance.sample(clinc[label], 30):
                add("clinc", text, intent)
    return rows


# Models of about one size each, of the nine whose scores are known.
WEAK = ["llama-3.1-8b-instruct", "mistral-7b-instruct-v0.3", "qwen2.5-7b-instruct", "gemma-2-9b-it", "llama3-chatqa-1.5-8b"]
STRONG = ["llama-3.3-nemotron-super-49b-v1", "llama-3.1-nemotron-51b-instruct", "llama3-chatqa-1.5-70b"]


def routed():
    """Prompts with how well a weak and a strong model answered, 0 to 1."""
    rows = []
    for name in ("mmlu", "gsm8k"):
        for row in public(f"routing_{name}"):
            if not row.get("contaminated"):
                rows.append({"source": name, "text": row["prompt"], "weak": float(row["weak_correct"]), "strong": float(row["strong_correct"])})
    for row in public("routing_llmrouter"):
        mean = lambda models: sum(row["scores"][model] for model in models) / len(models)
        rows.append({"source": f"llmrouter_{row['task']}", "text": row["prompt"], "weak": mean(WEAK), "strong": mean(STRONG)})
    return rows
