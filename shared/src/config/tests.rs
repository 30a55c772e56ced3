#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod anthropic;
mod azure;
mod bedrock;
mod catalog;
mod keys;
mod prices;
mod refusals;
mod vectors;

use super::*;
use crate::catalog::{Capabilities, Efforts, OnClientGone, Target};
use crate::money::{Price, RatesNusdPerMillion};
use crate::routing::head;
use crate::wire::openai::MaxTokensField;
use proptest::prelude::*;

/// The smallest file that can be used.
const SMALLEST: &str = "[tiers]\ncheap = ['sim/cheap']\nreasoning = ['sim/reasoning']\n";

/// A provider and a model, on lines 1 to 6; what follows begins on line 7.
const LOCAL: &str = "[providers.local]
kind = 'openai'
base_url = 'http://127.0.0.1:9/v1/'
[models.'local/m']
provider = 'local'
usd_per_million = { input = 1, output = 2 }
";

fn nothing_set(_: &str) -> Option<String> {
    None
}

fn load(text: &str) -> Config {
    Config::load(text, "gateway.toml", &nothing_set).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    Config::load(text, "gateway.toml", &nothing_set).expect_err(text).problems
}

fn only<'a>(names: &'a [&str]) -> impl Fn(&str) -> Option<String> + 'a {
    |name| names.contains(&name).then(|| format!("key-of-{name}"))
}

fn tier_names(config: &Config, tier: &str) -> Vec<String> {
    config.catalog.tier(tier).unwrap().models.iter().map(|model| model.name.to_string()).collect()
}

#[test]
fn the_shipped_file_has_no_problem() {
    assert_eq!(check(SHIPPED, "gateway.toml"), Vec::<String>::new());
}

#[test]
fn with_no_key_the_shipped_file_simulates_and_says_so() {
    let config = load(SHIPPED);
    assert_eq!(tier_names(&config, "cheap"), ["sim/cheap"]);
    assert_eq!(tier_names(&config, "reasoning"), ["sim/reasoning"]);
    assert_eq!(config.providers.len(), 1);
    assert!(config.notices.contains(&"groq is skipped, for GROQ_API_KEY is not set".to_owned()));
    assert!(config.notices.contains(&"no provider has a key: every answer is simulated".to_owned()));
    assert_eq!(config.catalog.resolve("groq/llama-3.3-70b"), None);
}

#[test]
fn simulated_models_are_served_where_they_are_configured_or_nothing_else_is() {
    let real = "[providers.up]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:1/v1'\n\
                [models.'up/one']\nprovider = 'up'\nusd_per_million = { input = 1, output = 1 }\n";
    let sim = |standby| format!("[providers.sim]\nkind = 'simulated'\nstandby = {standby}\n");
    let tiers = |models| format!("[tiers]\ncheap = {models}\n");
    let alias = "[aliases]\nfake = 'sim/cheap'\n";
    for (text, is_served) in [
        (tiers("['sim/cheap']"), true),
        (sim(true) + &tiers("['sim/cheap']"), true),
        (real.to_owned() + &tiers("['up/one']"), false),
        (real.to_owned() + &sim(true) + &tiers("['up/one', 'sim/cheap']"), false),
        (real.to_owned() + &sim(true) + &tiers("['up/one']") + alias, false),
        (real.to_owned() + &sim(false) + &tiers("['up/one']"), true),
        (real.to_owned() + &tiers("['up/one', 'sim/cheap']"), true),
        (real.to_owned() + &tiers("['up/one']") + alias, true),
    ] {
        let config = load(&text);
        let names = ["sim/cheap", "sim/fail-100"];
        assert!(names.iter().all(|name| config.catalog.resolve(name).is_some() == is_served), "{text}");
        assert_eq!(config.catalog.resolve("fake").is_some(), is_served && text.contains("fake"), "{text}");
        assert!(config.notices.iter().all(|notice| !notice.contains("standby")), "{:?}", config.notices);
        assert!(config.catalog.unserved.is_empty(), "it lacks no key: {:?}", config.catalog.unserved);
    }
}

#[test]
fn what_changes_no_answer_leaves_what_is_remembered() {
    let own = "[models.'groq/own']\nprovider = 'groq'\nusd_per_million = { input = 1.5, output = 2 }\n";
    let text = SHIPPED.replace("# \"gpt-4\" =", "\"gpt-4\" =") + own;
    let answers = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert!(from.is_empty() || changed != text, "{from} is in the file");
        let all = ["GROQ_API_KEY", "OPENAI_API_KEY", "TOGETHER_API_KEY", "OPENROUTER_API_KEY"];
        Config::load(&changed, "gateway.toml", &only(&all)).unwrap().answers
    };
    let before = answers("", "");
    for (from, to) in [
        ("input = 1.5", "input = 1.7"),
        ("first_token = 30000", "first_token = 9000"),
        ("daily_requests = 1000", "daily_requests = 7"),
        ("max_entries = 10000", "max_entries = 5"),
        ("[cache]", "# a remark\n[cache]"),
        ("tau_ms = 60000", "tau_ms = 50000"),
    ] {
        assert_eq!(answers(from, to), before, "{from} changes no answer");
    }
    for (from, to) in [
        ("https://api.groq.com/openai/v1", "https://groq.example/v1"),
        (
            "    \"groq/llama-3.3-70b\",\n    \"openai/gpt-4o-mini\",",
            "    \"openai/gpt-4o-mini\",\n    \"groq/llama-3.3-70b\",",
        ),
        ("least_doubt = 0.1", "least_doubt = 0.2"),
        ("ask_share = 0.1", "ask_share = 0.2"),
    ] {
        assert_ne!(answers(from, to), before, "{from} may change an answer");
    }
}

#[test]
fn a_variable_that_is_empty_counts_as_not_set() {
    let blank = |name: &str| (name == "GROQ_API_KEY").then(|| " \n".to_owned());
    let config = Config::load(SHIPPED, "gateway.toml", &blank).unwrap();
    assert_eq!(tier_names(&config, "cheap"), ["sim/cheap"]);
}

#[test]
fn the_shipped_file_states_the_defaults() {
    let (shipped, smallest) = (load(SHIPPED), load(SMALLEST));
    let settings = |config: &Config| {
        let Config { tenant_defaults, cache, health, breaker, retry, upgrade, intent, server, .. } = config;
        let retries = (config.max_retries_per_candidate, config.request_deadline_ms);
        let timeouts = config.catalog.tiers[0].models[0].timeouts;
        format!(
            "{tenant_defaults:#?}{cache:#?}{health:#?}{breaker:#?}{retry:#?}{upgrade:#?}{intent:#?}{server:#?}{retries:#?}{timeouts:#?}"
        )
    };
    assert_eq!(settings(&shipped), settings(&smallest));
    assert_eq!(shipped.intents, smallest.intents);
}

#[test]
fn the_shipped_file_mentions_every_field() {
    let tables = [
        "providers.p]\nkind = 'openai'\nbase_url = 'http://h'\n[providers.p",
        "models.m]\nprovider = 'p'\nusd_per_million = { input = 0, output = 0, x = 1 }\n[models.m",
        "intents.i]\ntier = 'cheap'\nexamples = ['x']\n[intents.i",
        "intent",
        "upgrade",
        "tenant_defaults",
        "tenant_defaults.limits",
        "tenant_defaults.cache",
        "tenant_defaults.upgrade",
        "cache",
        "health",
        "breaker",
        "retry",
        "timeouts_ms",
        "server",
        "embedder",
    ];
    for table in tables {
        // The repeated header of the first three is dropped: their fields follow those that they need.
        let header = table.rsplit_once("\n[").map_or(table, |(fields, _)| fields);
        let header = if header == table { format!("{table}]") } else { header.to_owned() };
        let text = format!("{SMALLEST}[{header}\nnonsense = 1\n");
        let found = problems(&text);
        let expected: Vec<&str> =
            found.iter().filter_map(|problem| problem.split_once("expected one of ")).map(|(_, names)| names).collect();
        assert!(!expected.is_empty(), "{table}: {found:?}");
        for field in expected.iter().flat_map(|names| names.split(", ")) {
            assert!(SHIPPED.contains(field), "{table}: {field} is not in the shipped file");
        }
    }
}

#[test]
fn an_embedder_is_a_priced_model_that_answers_no_requests() {
    let embedder = |fields: &str| format!("{LOCAL}{SMALLEST}[embedder]\n{fields}\n");
    let config = load(&embedder("model = 'local/m'\ndimensions = 768"));
    let EmbedderSettings { model, dimensions, timeout_ms, batch_texts } = config.embedder.clone().unwrap();
    assert_eq!((&*model.provider_model, model.price.rates_at(0).input), ("m", 1_000_000_000));
    assert_eq!((dimensions, timeout_ms, batch_texts), (768, 250, 32));
    assert!(config.catalog.resolve("local/m").is_none() && config.catalog.names().all(|name| name != "local/m"));
    assert!(config.notices.iter().any(|notice| notice.starts_with("the embedder has nothing to embed")));
    assert_eq!(load(SMALLEST).embedder, None);
    for (fields, problem) in [
        ("model = 'local/m'", "10: embedder.dimensions: is required"),
        ("dimensions = 3", "10: embedder.model: is required"),
        ("dimensions = 3\nmodel = 'local/other'", "12: embedder.model: no model is named \"local/other\""),
        ("model = 'local/m'\ndimensions = 0", "12: embedder.dimensions: must be a whole number from 1 to 8192"),
        ("model = 'local/m'\ndimensions = 3\ntimeout_ms = 0", "13: embedder.timeout_ms: must be a whole number"),
        ("model = 'local/m'\ndimensions = 3\nbatch_texts = 0", "13: embedder.batch_texts: must be a whole number"),
        (
            "model = 'local/m'\ndimensions = 3\n[aliases]\ne = 'local/m'",
            "14: aliases.e: \"local/m\" is the embedder's model",
        ),
    ] {
        let found = problems(&embedder(fields));
        assert!(found.len() == 1 && found[0].contains(problem), "{fields}: {found:?}");
    }
    let in_tier = embedder("model = 'local/m'\ndimensions = 3").replace("['sim/cheap']", "['local/m']");
    let found = problems(&in_tier);
    assert!(found.len() == 1 && found[0].contains("tiers.cheap[0]: \"local/m\" is the embedder's model"), "{found:?}");
    let simulated = embedder("model = 'local/m'\ndimensions = 3").replace("kind = 'openai'", "kind = 'simulated'");
    let simulated = simulated
        .replace("base_url = 'http://127.0.0.1:9/v1/'\n", "")
        .replace("provider = 'local'", "id = 'cheap'\nprovider = 'local'");
    let found = problems(&simulated);
    assert!(
        found.len() == 1 && found[0].contains("embedder.model: the provider \"local\" has no embeddings"),
        "{found:?}"
    );
}

#[test]
fn where_the_embedders_provider_has_no_key_the_table_in_process_embeds() {
    let keyed = LOCAL.replace("[models", "api_key = 'env:KEY'\nwhen_missing_key = 'skip'\n[models");
    let text = format!("{keyed}{SMALLEST}[embedder]\nmodel = 'local/m'\ndimensions = 3\n");
    let config = load(&text);
    assert_eq!(config.embedder, None);
    assert!(config.notices.contains(&"the embedder is the table in process, for local is skipped".to_owned()));
}

#[test]
fn another_embedder_leaves_what_is_remembered_behind() {
    let answers = |fields: &str| load(&format!("{LOCAL}{SMALLEST}[embedder]\nmodel = 'local/m'\n{fields}\n")).answers;
    let own = answers("dimensions = 3");
    assert_ne!(own, answers("dimensions = 4"));
    assert_eq!(own, answers("dimensions = 3\ntimeout_ms = 9\nbatch_texts = 9"));
    assert_ne!(own, load(&format!("{LOCAL}{SMALLEST}")).answers);
}

/// What `["tools", "prefill"]` lists, and what most models do.
const TOOLS_AND_PREFILL: Capabilities = Capabilities {
    tools: true,
    forced_tools: true,
    json_schema: false,
    vision: false,
    documents: false,
    reasoning: false,
    efforts: Efforts::ALL,
    sampling: true,
    logprobs: false,
    prefill: true,
};

#[test]
fn a_provider_and_its_models_are_read_as_written() {
    let text = r#"
        [providers.groq]
        kind = "openai"
        base_url = "https://api.groq.com/openai/v1/"
        api_keys = ["env:A", "env:B", "ssm:/gateway/c"]
        max_tokens_field = "max_completion_tokens"
        headers = { "http-referer" = "https://example.com" }
        [models."groq/llama"]
        provider = "groq"
        usd_per_million = { input = 0.59, cached_input = "0.000000001", output = 1_0.790, reasoning = 3 }
        context_tokens = 8_192
        capabilities = ["tools", "prefill"]
        timeouts_ms = { head = 9000, first_token = 45000 }
        on_client_gone = "cancel"
        [models."groq/free"]
        provider = "groq"
        id = "some/free-model"
        usd_per_million = { input = 0, output = 0 }
        [timeouts_ms]
        idle = 7
        [tiers]
        only = ["groq/llama", "groq/free"]
        [aliases]
        gpt-4 = "groq/llama"
        small = "only"
        any = "auto"
    "#;
    let config = Config::load(text, "gateway.toml", &only(&["A", "B"])).unwrap();
    let Some(Target::Model(llama)) = config.catalog.resolve("gpt-4") else { panic!("an alias of a model") };
    assert_eq!((&*llama.name, &*llama.provider, &*llama.provider_model), ("groq/llama", "groq", "llama"));
    let price = RatesNusdPerMillion {
        cached_input: 1,
        reasoning: 3_000_000_000,
        ..RatesNusdPerMillion::of(590_000_000, 10_790_000_000)
    };
    assert_eq!(llama.price, Price::from(price));
    assert_eq!((llama.context_tokens, llama.max_output_tokens, llama.default_max_output_tokens), (8_192, 8_192, 4_096));
    assert_eq!(llama.capabilities, TOOLS_AND_PREFILL);
    assert_eq!((llama.timeouts.head_ms, llama.timeouts.first_token_ms), (Some(9_000), 45_000));
    assert_eq!((llama.timeouts.idle_ms, llama.on_client_gone), (7, OnClientGone::Cancel));
    let Some(Target::Model(free)) = config.catalog.resolve("groq/free") else { panic!("a model") };
    assert_eq!((&*free.provider_model, &free.price), ("some/free-model", &Price::from(RatesNusdPerMillion::default())));
    assert!(matches!(config.catalog.resolve("small"), Some(Target::Tier(_))));
    assert_eq!(config.catalog.resolve("any"), Some(Target::Auto));
    assert_eq!(config.catalog.resolve("sim/cheap"), None, "nothing here names a simulated model");

    let ProviderKind::OpenAi(spec) = &config.providers[0].kind else { panic!("it speaks OpenAI's") };
    assert_eq!(spec.base_url, "https://api.groq.com/openai/v1");
    assert_eq!(spec.max_tokens_field, MaxTokensField::MaxCompletionTokens);
    assert_eq!(spec.headers[0].1, "https://example.com");
    let [first, second] = ["key-of-A", "key-of-B"].map(|key| ApiKey::Known(Secret::new(key).unwrap()));
    assert_eq!(spec.api_keys, [first, second, ApiKey::Pending(SecretRef::Ssm("/gateway/c".to_owned()))]);
    let printed = format!("{config:?}");
    assert!(!printed.contains("key-of") && !printed.contains("example.com"));
}

#[test]
fn what_is_left_out_has_its_default_and_none_lifts_a_limit() {
    let limits = load(&format!(
        "{SMALLEST}[tenant_defaults.limits]\ndaily_requests = 'none'\nmonthly_cost_usd = 0.000000001\ndaily_cost_usd = 'none'"
    ))
    .tenant_defaults
    .limits;
    assert_eq!((limits.daily_requests, limits.daily_tokens), (None, Some(1_000_000)));
    assert_eq!((limits.daily_cost_nusd, limits.monthly_cost_nusd), (None, Some(1)));
    let defaults = load(SMALLEST).tenant_defaults;
    assert_eq!((defaults.limits.requests_per_minute, defaults.limits.concurrency), (Some(600), Some(50)));
    assert_eq!((defaults.limits.daily_cost_nusd, defaults.limits.monthly_cost_nusd), (Some(5_000_000_000), None));
    assert_eq!(defaults.allowed_models, ["*"]);
}

#[test]
fn simulated_models_need_no_table_and_stand_beside_real_ones_where_a_tier_names_them() {
    let config = load(&format!("{LOCAL}[tiers]\ncheap = ['sim/slow-5', 'local/m']\n"));
    assert_eq!(tier_names(&config, "cheap"), ["sim/slow-5", "local/m"]);
    let names: Vec<&str> = config.catalog.models.iter().map(|model| &*model.name).collect();
    assert_eq!(names, ["local/m", "sim/slow-5"]);
    let providers: Vec<&str> = config.providers.iter().map(|provider| &*provider.name).collect();
    assert_eq!(providers, ["local", "sim"]);
}

#[test]
fn a_simulated_model_may_get_a_name_and_a_price_of_its_own() {
    let config = load(
        "[providers.fake]\nkind = 'simulated'\n[models.flaky]\nprovider = 'fake'\nid = 'fail-50'\n\
         usd_per_million = { input = 1, output = 1 }\n[tiers]\ncheap = ['flaky', 'sim/cheap']\n",
    );
    assert_eq!(tier_names(&config, "cheap"), ["flaky", "sim/cheap"]);
    assert!(config.providers.iter().all(|provider| &*provider.name == "fake"), "and no other is implied");
}

#[test]
fn tiers_keep_the_order_of_the_file() {
    let config = load("[tiers]\nz = ['sim/cheap']\na = ['sim/cheap']\nm = ['sim/reasoning']\n");
    let names: Vec<&str> = config.catalog.tiers.iter().map(|tier| &*tier.name).collect();
    assert_eq!(names, ["z", "a", "m"]);
}

#[test]
fn an_alias_of_a_skipped_model_is_unknown_and_no_mistake() {
    let text = format!("{SHIPPED}\n").replace("# \"gpt-4\" =", "\"gpt-4\" =");
    assert_eq!(load(&text).catalog.resolve("gpt-4"), None);
    assert!(load(&text).catalog.aliases.is_empty());
    let config = Config::load(&text, "gateway.toml", &only(&["OPENAI_API_KEY"])).unwrap();
    assert!(matches!(config.catalog.resolve("gpt-4"), Some(Target::Model(_))));
}

#[test]
fn what_lacks_its_providers_key_is_known_by_name() {
    let text = SHIPPED.replace("# \"gpt-4\" =", "\"gpt-4\" =");
    let config = Config::load(&text, "gateway.toml", &only(&["GROQ_API_KEY"])).unwrap();
    let unserved = |name: &str| {
        config.catalog.unserved.iter().find(|(known, _)| &**known == name).map(|(_, provider)| provider.to_string())
    };
    assert_eq!(unserved("openai/gpt-4o").as_deref(), Some("openai"));
    assert_eq!(unserved("gpt-4").as_deref(), Some("openai"), "an alias goes with its model");
    assert_eq!(unserved("groq/llama-3.3-70b"), None);
}

#[test]
fn intents_of_the_file_replace_the_shipped_ones() {
    let config = load(&format!("{SMALLEST}[intents.a]\ntier = 'reasoning'\nexamples = ['x', 'y']\n"));
    let intent = IntentSpec {
        name: "a".into(),
        tier: "reasoning".into(),
        examples: vec!["x".into(), "y".into()],
        upgrade: true,
    };
    assert_eq!(config.intents, [intent]);
    assert_eq!(config.intent.default_intent, None);
}

#[test]
fn intents_of_the_file_stand_beside_the_shipped_ones_where_that_is_wanted() {
    let own = "[intents.a]\ntier = 'reasoning'\nexamples = ['x']\n[intents.advice]\ntier = 'reasoning'\n";
    let config = load(&format!("{SMALLEST}{own}[intent]\nshipped = true\n"));
    let spec = |name: &str| config.intents.iter().filter(|spec| &*spec.name == name).collect::<Vec<_>>();
    assert_eq!((config.intents.len(), spec("a").len()), (15, 1));
    let [advice] = spec("advice")[..] else { panic!("advice stands there once") };
    assert_eq!((&*advice.tier, advice.examples.len()), ("reasoning", 0), "what was learnt, in another tier");
}

#[test]
fn the_share_that_is_asked_about_is_a_target() {
    let below = |fields: &str| load(&format!("{SMALLEST}[intent]\n{fields}\n")).intent.ask_below;
    assert!(below("") > 0.5 && below("") == below("ask_share = 0.1"));
    assert!(below("ask_share = 0.3") > below("ask_share = 0.1"));
    assert_eq!([below("ask_share = 0"), below("ask_share = 0.3\nask_below = 0.25")], [0.0, 0.25]);
}

#[test]
fn the_shipped_intents_find_their_tiers_in_a_file_that_calls_them_otherwise() {
    let config = load("[tiers]\nsmall = ['sim/cheap']\nmiddle = ['sim/cheap']\nlarge = ['sim/reasoning']\n");
    let tier_of =
        |name: &str| config.intents.iter().find(|intent| &*intent.name == name).map(|intent| intent.tier.to_string());
    assert_eq!(tier_of("greeting").as_deref(), Some("small"));
    assert_eq!(tier_of("architecture_review").as_deref(), Some("large"));
    assert_eq!(&*config.intent.classifier_tier, "small");
}

#[test]
fn every_shipped_intent_has_utterances() {
    let utterances = shipped_utterances();
    for name in head::names() {
        assert!(utterances.iter().filter(|(of, _)| of == name).count() > 30, "{name}");
    }
    assert!(utterances.iter().all(|(of, _)| head::names().any(|name| name == of)));
}

#[test]
fn the_version_changes_with_the_file_and_only_with_it() {
    assert_eq!(load(SMALLEST).version, load(SMALLEST).version);
    assert_ne!(load(SMALLEST).version, load(&format!("{SMALLEST}\n# changed")).version);
}
