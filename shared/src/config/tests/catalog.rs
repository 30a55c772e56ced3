//! Models of the catalog that a configuration has by their names alone, and what models can do.

use super::*;
use crate::wire::conversation::Effort;

/// A provider of this name, and tiers of these models.
fn file(provider: &str, models: &str) -> String {
    format!("[providers.{provider}]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:9'\n[tiers]\nonly = [{models}]\n")
}

#[test]
fn with_the_key_of_any_one_provider_the_shipped_tiers_are_of_its_models() {
    for (key, cheap, reasoning) in [
        ("GROQ_API_KEY", &["groq/llama-3.3-70b"][..], &["groq/gpt-oss-120b"][..]),
        ("OPENAI_API_KEY", &["openai/gpt-4o-mini", "openai/gpt-6-luna"], &["openai/gpt-4o", "openai/gpt-6.2-sol"]),
        ("ANTHROPIC_API_KEY", &["anthropic/claude-haiku-4-5"], &["anthropic/claude-sonnet-5"]),
        ("GEMINI_API_KEY", &["gemini/gemini-3.5-flash-lite"], &["gemini/gemini-3.1-pro-preview"]),
        ("CEREBRAS_API_KEY", &["cerebras/gpt-oss-120b"], &["cerebras/gemma-4-31b"]),
        ("DEEPSEEK_API_KEY", &["deepseek/deepseek-flash"], &["deepseek/deepseek-v4-pro"]),
        ("MISTRAL_API_KEY", &["mistral/mistral-small-2603"], &["mistral/mistral-medium-3.5"]),
        ("TOGETHER_API_KEY", &["together/llama-3.3-70b"], &["together/gpt-oss-120b"]),
        ("XAI_API_KEY", &["xai/grok-4.3"], &["xai/grok-4.6"]),
        ("FIREWORKS_API_KEY", &["fireworks/kimi-k2.6"], &["fireworks/glm-5.2"]),
        ("OPENROUTER_API_KEY", &["openrouter/gpt-4o-mini"], &["openrouter/gpt-4o"]),
        ("AWS_BEARER_TOKEN_BEDROCK", &["bedrock/nova-lite"], &["bedrock/claude-sonnet-5"]),
    ] {
        let value = |name: &str| (name == "AWS_REGION").then(|| "us-east-1".to_owned()).or_else(|| only(&[key])(name));
        let config = Config::load(SHIPPED, "gateway.toml", &value).unwrap();
        assert_eq!(tier_names(&config, "cheap"), cheap, "{key}");
        assert_eq!(tier_names(&config, "reasoning"), reasoning, "{key}");
        let (provider, _) = cheap[0].split_once('/').unwrap();
        assert!(config.catalog.models.iter().all(|model| *model.provider == *provider), "{key}: nothing is simulated");
        assert!(config.providers.iter().all(|spec| *spec.name == *provider), "{key}");
        assert_eq!(config.notices.len(), 11, "the others are skipped: {:?}", config.notices);
        for name in ["sim/cheap", "sim/fail-100"] {
            assert_eq!(config.catalog.resolve(name), None, "{name} makes answers up, and nobody configured it");
        }
    }
}

#[test]
fn the_shipped_file_has_all_models_of_a_provider_and_their_plain_names() {
    let config = Config::load(SHIPPED, "gateway.toml", &only(&["OPENAI_API_KEY"])).unwrap();
    for name in ["openai/gpt-4.1-nano", "gpt-4.1-nano"] {
        let Some(Target::Model(model)) = config.catalog.resolve(name) else { panic!("{name}") };
        assert_eq!((&*model.name, &*model.provider_model), ("openai/gpt-4.1-nano", "gpt-4.1-nano"));
        assert!(model.origin.source.is_some());
    }
    for (name, provider) in [("mistral/codestral-2508", "mistral"), ("codestral-2508", "mistral")] {
        assert_eq!(config.catalog.resolve(name), None);
        assert!(config.catalog.unserved.contains(&(name.into(), provider.into())), "{name}");
    }
    assert_eq!(config.catalog.resolve("llama-3.3-70b"), None, "it is not its provider's own");
}

#[test]
fn a_file_has_the_models_of_the_catalog_that_it_names() {
    let config = load(&file("groq", "'groq/llama-3.1-8b'"));
    assert_eq!(tier_names(&config, "only"), ["groq/llama-3.1-8b"]);
    assert_eq!(config.catalog.models.len(), 1);
    let aliased = load(&format!("{}[aliases]\nquick = 'groq/gpt-oss-20b'\n", file("groq", "'groq/llama-3.1-8b'")));
    let Some(Target::Model(model)) = aliased.catalog.resolve("quick") else { panic!("an alias") };
    assert_eq!((&*model.name, aliased.catalog.models.len()), ("groq/gpt-oss-20b", 2));
    assert_eq!(
        problems(&file("mine", "'groq/llama-3.1-8b'")),
        ["gateway.toml:5: tiers.only[0]: no model is named \"groq/llama-3.1-8b\""]
    );
}

#[test]
fn what_a_file_says_of_a_name_stands_in_place_of_the_catalog() {
    let table = "[models.'groq/llama-3.1-8b']\nprovider = 'groq'\nusd_per_million = { input = 7, output = 7 }\n";
    let config = load(&format!("{table}{}", file("groq", "'groq/llama-3.1-8b'")));
    let Some(Target::Model(model)) = config.catalog.resolve("groq/llama-3.1-8b") else { panic!("a model") };
    assert_eq!((&*model.provider_model, config.catalog.models.len()), ("llama-3.1-8b", 1));
    assert_eq!(model.price, Price::from(RatesNusdPerMillion::of(7_000_000_000, 7_000_000_000)));
    let all = "[catalog]\nshipped = 'all'\n[aliases]\n'gpt-4o' = 'openai/gpt-4o-mini'\n";
    let config = load(&format!("{}{all}", file("openai", "'openai/gpt-4o'")));
    let Some(Target::Model(model)) = config.catalog.resolve("gpt-4o") else { panic!("an alias") };
    assert_eq!(&*model.name, "openai/gpt-4o-mini", "the file's own alias");
    assert!(matches!(config.catalog.resolve("gpt-4.1"), Some(Target::Model(_))));
}

#[test]
fn what_most_models_do_is_said_of_those_that_do_not() {
    let model = |fields: &str| {
        let config = load(&format!("{LOCAL}{fields}\n[tiers]\nonly = ['local/m']\n"));
        let Some(Target::Model(model)) = config.catalog.resolve("local/m") else { panic!("a model") };
        model.capabilities
    };
    let usual = Capabilities { sampling: true, efforts: Efforts::ALL, ..Capabilities::default() };
    assert_eq!(model(""), usual);
    let tools = Capabilities { tools: true, forced_tools: true, ..usual };
    assert_eq!(model("capabilities = ['tools']"), tools);
    assert_eq!(model("capabilities = ['tools']\nforced_tools = false"), Capabilities { forced_tools: false, ..tools });
    assert_eq!(model("forced_tools = true"), usual, "without tools there are none to be forced");
    assert_eq!(model("sampling = false"), Capabilities { sampling: false, ..usual });
    let efforts = Efforts::default().and(Effort::Low).and(Effort::Max);
    let thinks = Capabilities { reasoning: true, documents: true, efforts, ..usual };
    assert_eq!(model("capabilities = ['reasoning', 'documents']\nefforts = ['low', 'max']"), thinks);
    let refused = |fields: &str| problems(&format!("{LOCAL}{fields}\n[tiers]\nonly = ['local/m']\n"));
    assert_eq!(
        refused("efforts = ['much']"),
        ["gateway.toml:7: models.\"local/m\".efforts[0]: must be none, minimal, low, medium, high, xhigh or max"]
    );
    assert_eq!(
        refused("retires = 'soon'"),
        ["gateway.toml:7: models.\"local/m\".retires: must be a date, such as 2026-12-01"]
    );
}
