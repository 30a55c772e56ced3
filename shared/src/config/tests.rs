#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::catalog::{Capabilities, Target};
use crate::money::PriceNusdPerMillion;
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
fn with_one_key_the_shipped_file_uses_that_provider_and_simulates_nothing() {
    for (key, cheap, reasoning) in [
        ("GROQ_API_KEY", "groq/llama-3.3-70b", "groq/gpt-oss-120b"),
        ("OPENAI_API_KEY", "openai/gpt-4o-mini", "openai/gpt-4o"),
        ("TOGETHER_API_KEY", "together/llama-3.3-70b", "together/gpt-oss-120b"),
        ("OPENROUTER_API_KEY", "openrouter/gpt-4o-mini", "openrouter/gpt-4o"),
    ] {
        let config = Config::load(SHIPPED, "gateway.toml", &only(&[key])).unwrap();
        assert_eq!(tier_names(&config, "cheap"), [cheap], "{key}");
        assert_eq!(tier_names(&config, "reasoning"), [reasoning], "{key}");
        assert_eq!(config.notices.len(), 3, "the other three are skipped: {:?}", config.notices);
        for name in ["sim/cheap", "sim/fail-100"] {
            assert_eq!(config.catalog.resolve(name), None, "{name} makes answers up, and nobody configured it");
        }
        assert!(config.catalog.models.iter().all(|model| !model.name.starts_with("sim/")));
        assert!(config.providers.iter().all(|provider| &*provider.name != "sim"));
    }
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
    let text = SHIPPED.replace("# \"gpt-4\" =", "\"gpt-4\" =");
    let answers = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert!(from.is_empty() || changed != text, "{from} is in the file");
        let all = ["GROQ_API_KEY", "OPENAI_API_KEY", "TOGETHER_API_KEY", "OPENROUTER_API_KEY"];
        Config::load(&changed, "gateway.toml", &only(&all)).unwrap().answers
    };
    let before = answers("", "");
    for (from, to) in [
        ("input = ", "input = 1"),
        ("first_token = 10000", "first_token = 9000"),
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
            "cheap = [\"groq/llama-3.3-70b\", \"openai/gpt-4o-mini\"",
            "cheap = [\"openai/gpt-4o-mini\", \"groq/llama-3.3-70b\"",
        ),
        ("min_mean_logprob = -1.0", "min_mean_logprob = -2.0"),
        ("ask_below = 0.5", "ask_below = 0.6"),
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
        timeouts_ms = { first_token = 30000 }
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
    let mut config = Config::load(text, "gateway.toml", &only(&["A", "B"])).unwrap();
    let Some(Target::Model(llama)) = config.catalog.resolve("gpt-4") else { panic!("an alias of a model") };
    assert_eq!((&*llama.name, &*llama.provider, &*llama.provider_model), ("groq/llama", "groq", "llama"));
    let price =
        PriceNusdPerMillion { input: 590_000_000, cached_input: 1, output: 10_790_000_000, reasoning: 3_000_000_000 };
    assert_eq!(llama.price, price);
    assert_eq!((llama.context_tokens, llama.max_output_tokens, llama.default_max_output_tokens), (8_192, 8_192, 4_096));
    assert_eq!(llama.capabilities, Capabilities { tools: true, prefill: true, ..Capabilities::default() });
    assert_eq!((llama.timeouts.first_token_ms, llama.timeouts.idle_ms), (30_000, 7));
    let Some(Target::Model(free)) = config.catalog.resolve("groq/free") else { panic!("a model") };
    assert_eq!((&*free.provider_model, free.price), ("some/free-model", PriceNusdPerMillion::default()));
    assert!(matches!(config.catalog.resolve("small"), Some(Target::Tier(_))));
    assert_eq!(config.catalog.resolve("any"), Some(Target::Auto));
    assert_eq!(config.catalog.resolve("sim/cheap"), None, "nothing here names a simulated model");

    let reference = SecretRef::Ssm("/gateway/c".to_owned());
    assert_eq!(config.pending_secrets(), std::slice::from_ref(&reference));
    config.supply(&reference, &Secret::new("key-of-c").unwrap());
    assert_eq!(config.pending_secrets(), []);
    let ProviderKind::OpenAi(spec) = &config.providers[0].kind else { panic!("it speaks OpenAI's") };
    assert_eq!(spec.base_url, "https://api.groq.com/openai/v1");
    assert_eq!(spec.max_tokens_field, MaxTokensField::MaxCompletionTokens);
    assert_eq!(spec.headers[0].1, "https://example.com");
    let keys = ["key-of-A", "key-of-B", "key-of-c"].map(|key| ApiKey::Known(Secret::new(key).unwrap()));
    assert_eq!(spec.api_keys, keys);
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
    let intent = IntentSpec { name: "a".into(), tier: "reasoning".into(), examples: vec!["x".into(), "y".into()] };
    assert_eq!(config.intents, [intent]);
    assert_eq!(&*config.intent.default_intent, "a", "the first, where none is called simple_question");
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
fn the_version_changes_with_the_file_and_only_with_it() {
    assert_eq!(load(SMALLEST).version, load(SMALLEST).version);
    assert_ne!(load(SMALLEST).version, load(&format!("{SMALLEST}\n# changed")).version);
}

#[test]
fn a_file_that_cannot_be_right_is_refused_with_line_and_path() {
    // The text is put after LOCAL (6 lines) and a tier (lines 7 and 8), so its first line is the ninth.
    let table = [
        (
            "[cache]\nmax_entrys = 5",
            "10: cache.max_entrys: unknown field, expected one of max_entries, max_bytes, max_entry_bytes",
        ),
        (
            "[cach]\nmax_entries = 5",
            "9: cach: unknown field, expected one of timeouts_ms, providers, models, tiers, aliases, intents, retry, tenant_defaults, cache, health, breaker, upgrade, intent, server",
        ),
        ("[cache]\nmax_entries = -5", "10: cache.max_entries: must be a whole number from 0 to 100000000"),
        ("[cache]\nmax_entries = 1.5", "10: cache.max_entries: must be a whole number from 0 to 100000000"),
        ("[cache]\nmax_entries = '5'", "10: cache.max_entries: must be a whole number from 0 to 100000000"),
        (
            "[cache]\nmax_bytes = 10\nmax_entry_bytes = 11",
            "11: cache.max_entry_bytes: must be a whole number from 0 to 10",
        ),
        ("[[cache]]\nmax_entries = 5", "9: cache: must be a table"),
        ("[health]\ntau_ms = 0", "10: health.tau_ms: must be a whole number from 1000 to 86400000"),
        (
            "[breaker]\nconsecutive_failures = 0",
            "10: breaker.consecutive_failures: must be a whole number from 1 to 1000",
        ),
        ("[retry]\nbudget_percent = 101", "10: retry.budget_percent: must be a whole number from 0 to 100"),
        ("[timeouts_ms]\nconnect = 0", "10: timeouts_ms.connect: must be a whole number from 1 to 900000"),
        (
            "[timeouts_ms]\nrequest = 99999999999999999999999",
            "10: timeouts_ms.request: must be a whole number from 1 to 900000",
        ),
        ("[upgrade]\nmin_mean_logprob = 0.5", "10: upgrade.min_mean_logprob: must be a number from -100.0 to 0.0"),
        ("[upgrade]\nmin_mean_logprob = nan", "10: upgrade.min_mean_logprob: must be a number from -100.0 to 0.0"),
        ("[server]\nmax_body_bytes = 10485761", "10: server.max_body_bytes: must be a whole number from 1 to 10485760"),
        (
            "[server]\nmemory_bytes = 83886079",
            "10: server.memory_bytes: must be a whole number from 83886080 to 1125899906842624, or \"auto\"",
        ),
        (
            "[server]\nmax_connections = 0",
            "10: server.max_connections: must be a whole number from 1 to 1048576, or \"auto\"",
        ),
        ("[server]\ncors_origins = '*'", "10: server.cors_origins: must be a list of texts"),
        (
            "[server]\ncors_origins = ['*', 'https://a.example/']",
            "10: server.cors_origins[1]: must be \"*\", or an origin as browsers send it: https://app.example.com",
        ),
        ("[intent]\nask_below = 2", "10: intent.ask_below: must be a number from 0.0 to 1.0"),
        ("[intent]\nclassifier_tier = 'dear'", "10: intent.classifier_tier: no tier is named \"dear\""),
        ("[intent]\ndefault_intent = 'chat'", "10: intent.default_intent: no intent is named \"chat\""),
        ("[intents.a]\ntier = 'dear'\nexamples = ['x']", "10: intents.a.tier: no tier is named \"dear\""),
        ("[intents.a]\ntier = 'cheap'", "9: intents.a.examples: is required"),
        ("[intents.a]\ntier = 'cheap'\nexamples = []", "9: intents.a: examples cannot be empty"),
        (
            "[intents.a]\ntier = 'cheap'\nexamples = ['x',\n ' ']",
            "12: intents.a.examples[1]: must be a text that is not empty",
        ),
        (
            "[intents.'a b']\ntier = 'cheap'\nexamples = ['x']",
            "9: intents.\"a b\": a name has 1 to 128 visible ASCII characters and no space",
        ),
        ("[tenant_defaults]\noutage_share = 1.1", "10: tenant_defaults.outage_share: must be a number from 0.0 to 1.0"),
        ("[tenant_defaults]\nenabled = 'yes'", "10: tenant_defaults.enabled: must be true or false"),
        (
            "[tenant_defaults]\nallowed_models = ['*', 'local/x']",
            "10: tenant_defaults.allowed_models[1]: no model or tier is named \"local/x\"",
        ),
        (
            "[tenant_defaults.limits]\nconcurrency = 0",
            "10: tenant_defaults.limits.concurrency: must be a whole number from 1 to 1000000000, or \"none\"",
        ),
        (
            "[tenant_defaults.limits]\ndaily_cost_usd = -5",
            "10: tenant_defaults.limits.daily_cost_usd: a limit cannot be negative",
        ),
        ("[tenant_defaults]\nlimits = 5", "10: tenant_defaults.limits: must be a table"),
        ("[models]\nx = 5", "10: models.x: must be a table"),
        ("[providers]\nx = 5", "10: providers.x: must be a table"),
        ("[intents]\nx = 5", "10: intents.x: must be a table"),
        ("[models.x]\nusd_per_million = { input = 1, output = 1 }", "9: models.x.provider: is required"),
        ("[models.x]\nprovider = 'local'", "9: models.x.usd_per_million: is required"),
        ("[models.x]\nprovider = 'local'\nusd_per_million = 5", "11: models.x.usd_per_million: must be a table"),
        (
            "[models.x]\nprovider = 'nowhere'\nusd_per_million = { input = 1, output = 1 }",
            "10: models.x.provider: no provider is named \"nowhere\"",
        ),
        (
            "[models.'groq/llama']\nprovider = 'local'\n\nusd_per_million = { input = -1, output = 1 }",
            "12: models.\"groq/llama\".usd_per_million.input: a price cannot be negative",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 1e-3, output = 1 }",
            "11: models.x.usd_per_million.input: a price must be a plain decimal number of US dollars, such as 0.59",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = inf, output = 1 }",
            "11: models.x.usd_per_million.input: a price must be a plain decimal number of US dollars, such as 0.59",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 0x10, output = 1 }",
            "11: models.x.usd_per_million.input: a price must be a plain decimal number of US dollars, such as 0.59",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 0.0000000001, output = 1 }",
            "11: models.x.usd_per_million.input: a price must have at most 9 decimal places",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 1 }",
            "11: models.x.usd_per_million.output: is required",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 1, outptu = 1, output = 1 }",
            "11: models.x.usd_per_million.outptu: unknown field, expected one of input, output, cached_input, reasoning",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 1, output = 1 }\ncontext_tokens = 0",
            "12: models.x.context_tokens: must be a whole number from 1 to 100000000",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 1, output = 1 }\nmax_output_tokens = 100\ndefault_max_output_tokens = 101",
            "13: models.x.default_max_output_tokens: must be a whole number from 1 to 100",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 1, output = 1 }\ncapabilities = ['tools', 'sight']",
            "12: models.x.capabilities[1]: must be tools, json_schema, vision, logprobs or prefill",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 1, output = 1 }\ntimeouts_ms = { idle = 0 }",
            "12: models.x.timeouts_ms.idle: must be a whole number from 1 to 900000",
        ),
        (
            "[models.auto]\nprovider = 'local'\nusd_per_million = { input = 1, output = 1 }",
            "9: models.auto: this name is reserved",
        ),
        (
            "[models.'sim/x']\nprovider = 'local'\nusd_per_million = { input = 1, output = 1 }",
            "9: models.\"sim/x\": names that begin with sim/ belong to the simulated provider",
        ),
        ("[aliases]\nx = 'nowhere'", "10: aliases.x: no model or tier is named \"nowhere\""),
        ("[aliases]\nx = 'sim/nothing'", "10: aliases.x: no model or tier is named \"sim/nothing\""),
        ("[aliases]\nx = 'cheap'\ny = 'x'", "11: aliases.y: no model or tier is named \"x\""),
        ("[aliases]\n'local/m' = 'cheap'", "10: aliases.\"local/m\": the name is taken by models.\"local/m\""),
        ("[aliases]\ncheap = 'local/m'", "10: aliases.cheap: the name is taken by tiers.cheap"),
        ("[aliases]\nauto = 'local/m'", "10: aliases.auto: this name is reserved"),
        ("[aliases]\nx = 5", "10: aliases.x: must be a text that is not empty"),
        ("[providers.x]\nbase_url = 'http://h'", "9: providers.x.kind: is required"),
        (
            "[providers.x]\nkind = 'gemini'\nregion = 'eu'",
            "10: providers.x.kind: is not yet supported, only \"openai\" and \"simulated\" are",
        ),
        ("[providers.x]\nkind = 'opanai'", "10: providers.x.kind: must be \"openai\" or \"simulated\""),
        ("[providers.x]\nkind = 'openai'", "9: providers.x.base_url: is required"),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'api.groq.com/v1'",
            "11: providers.x.base_url: must be an http or https address without user, query or fragment",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'https://me:secret@h/v1'",
            "11: providers.x.base_url: must be an http or https address without user, query or fragment",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'file:///etc/passwd'",
            "11: providers.x.base_url: must be an http or https address without user, query or fragment",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\napi_key = 'env:NOT_SET'",
            "12: providers.x.api_key: NOT_SET is not set in the environment",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\napi_keys = ['ssm:/a', 'env:NOT_SET']",
            "12: providers.x.api_keys[1]: NOT_SET is not set in the environment",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\napi_keys = []",
            "9: providers.x: api_keys cannot be empty",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\napi_key = 'ssm:/a'\napi_keys = ['ssm:/b']",
            "12: providers.x.api_key: cannot stand beside api_keys",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\nmax_tokens_field = 'most'",
            "12: providers.x.max_tokens_field: must be \"max_tokens\" or \"max_completion_tokens\"",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\nheaders = { Authorization = 'Bearer x' }",
            "12: providers.x.headers.Authorization: is set by the gateway",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\nheaders = { 'a b' = 'x' }",
            "12: providers.x.headers.\"a b\": is not the name of an HTTP header",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\nheaders = { a = \"x\\ny\" }",
            "12: providers.x.headers.a: is not the value of an HTTP header",
        ),
        (
            "[providers.x]\nkind = 'simulated'\nbase_url = 'http://h'",
            "11: providers.x.base_url: unknown field, expected one of kind, standby",
        ),
        (
            "[providers.sim]\nkind = 'openai'\nbase_url = 'http://h'",
            "9: providers.sim: this name belongs to the simulated provider",
        ),
        (
            "[providers.x]\nkind = 'simulated'\n[providers.y]\nkind = 'simulated'",
            "11: providers.y: only one provider can be simulated, and \"x\" is",
        ),
        (
            "[providers.x]\nkind = 'simulated'\n[models.x]\nprovider = 'x'\nid = 'fail'\nusd_per_million = { input = 0, output = 0 }",
            "13: models.x.id: the simulated provider has no model \"fail\"",
        ),
        ("[providers.local]\nkind = 'simulated'", "9: duplicate key"),
        ("[cache", "9: unclosed table, expected `]`"),
    ];
    for (text, expected) in table {
        let found = problems(&format!("{LOCAL}[tiers]\ncheap = ['local/m']\n{text}\n"));
        assert_eq!(found, [format!("gateway.toml:{expected}")], "{text}");
    }
}

#[test]
fn tiers_that_cannot_be_right_are_refused() {
    // The text is put after LOCAL, so its first line is the seventh.
    let skipped = "[providers.p]\nkind = 'openai'\nbase_url = 'http://h'\napi_key = 'env:P_KEY'\nwhen_missing_key = 'skip'\n\
                   [models.a]\nprovider = 'p'\nusd_per_million = { input = 0, output = 0 }\n[tiers]\ncheap = ['a']";
    let table = [
        ("", "1: tiers: is required"),
        ("[tiers]", "7: tiers: there must be at least one tier"),
        ("[tiers]\ncheap = []", "8: tiers.cheap: a tier cannot be empty"),
        ("[tiers]\ncheap = 'local/m'", "8: tiers.cheap: must be a list of texts"),
        ("[tiers]\ncheap = ['local/m',\n'x']", "9: tiers.cheap[1]: no model is named \"x\""),
        ("[tiers]\ncheap = ['local/m', 'local/m']", "8: tiers.cheap[1]: \"local/m\" is listed twice"),
        ("[tiers]\ncheap = ['sim/nothing']", "8: tiers.cheap[0]: no model is named \"sim/nothing\""),
        (
            "[tiers]\ncheap = ['local/m']\n'local/m' = ['local/m']",
            "9: tiers.\"local/m\": the name is taken by models.\"local/m\"",
        ),
        ("[tiers]\nauto = ['local/m']", "8: tiers.auto: this name is reserved"),
        (skipped, "16: tiers.cheap: none of its models can serve: p is skipped, for P_KEY is not set"),
        (
            "[providers.sim]\nkind = 'simulated'\nstandby = true\n[tiers]\ncheap = ['sim/cheap']",
            "11: tiers.cheap: none of its models can serve: sim is on standby",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(problems(&format!("{LOCAL}{text}\n")), [format!("gateway.toml:{expected}")], "{text}");
    }
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_file() {
    let found = problems("[server]\nmax_body_bytes = 0\n[tiers]\ncheap = ['x', 'sim/cheap']\n[cache]\nx = 1\n");
    let lines: Vec<&str> = found.iter().filter_map(|problem| problem.split(": ").next()).collect();
    assert_eq!(lines, ["gateway.toml:2", "gateway.toml:4", "gateway.toml:6"], "{found:?}");
    let error = Config::load("[server]\nmax_body_bytes = 0\n", "gateway.toml", &nothing_set).unwrap_err();
    assert_eq!(error.to_string(), error.problems.join("\n"));
    assert_eq!(error.problems.len(), 2);
}

#[test]
fn no_message_repeats_what_may_be_a_key() {
    let provider = "[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\n";
    for field in [
        "api_key = 'sk-hidden'",
        "api_key = 'sk-hidden",
        "api_key = sk-hidden",
        "api_key = 'env:sk-hidden'",
        "api_key = 'env:HOLDS_RUBBISH'",
        "api_keys = ['ssm:/a', 'sk-hidden']",
        "api_keys = 'sk-hidden'",
        "api_key = ['sk-hidden']",
        "headers = { authorization = 'sk-hidden' }",
        "headers = { x = \"sk-hidden\\n\" }",
        "headers = 'sk-hidden'",
        "when_missing_key = 'sk-hidden'",
        "base_url = 'https://sk-hidden@h'",
    ] {
        let rubbish = |name: &str| (name == "HOLDS_RUBBISH").then(|| "sk-hidden \u{e9}".to_owned());
        let error = Config::load(&format!("{SMALLEST}{provider}{field}\n"), "gateway.toml", &rubbish).expect_err(field);
        assert!(!format!("{error} {error:?}").contains("hidden"), "{field}: {error}");
    }
}

#[test]
fn a_key_that_is_missing_here_is_no_problem_for_check() {
    let text = format!("{SMALLEST}[providers.x]\nkind = 'openai'\nbase_url = 'http://h'\napi_key = 'env:NOT_SET'\n");
    assert_eq!(check(&text, "gateway.toml"), Vec::<String>::new());
    assert_eq!(check("[tiers]\n", "other.toml"), ["other.toml:1: tiers: there must be at least one tier"]);
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = check(&text, "gateway.toml");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_mutilation_of_the_shipped_file_panics(at in 0..SHIPPED.len(), cut in 0usize..80, put in "[\\[\\]{}='\",.\\-\n0-9a-z]{0,4}") {
        let mut bytes = SHIPPED.as_bytes().to_vec();
        bytes.splice(at..(at + cut).min(SHIPPED.len()), put.bytes());
        for problem in check(&String::from_utf8_lossy(&bytes), "gateway.toml") {
            prop_assert!(problem.starts_with("gateway.toml:"), "{}", problem);
        }
    }
}
