//! What is refused, and in which words.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_file_that_cannot_be_right_is_refused_with_line_and_path() {
    // The text is put after LOCAL (6 lines) and a tier (lines 7 and 8), so its first line is the ninth.
    let table = [
        (
            "[cache]\nmax_entrys = 5",
            "10: cache.max_entrys: unknown field, expected one of max_entries, max_bytes, max_entry_bytes, items_seconds",
        ),
        (
            "[cach]\nmax_entries = 5",
            "9: cach: unknown field, expected one of timeouts_ms, providers, models, tiers, aliases, catalog, embedder, intents, intent, retry, alerts, tenant_defaults, cache, health, breaker, upgrade, server",
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
        ("[upgrade]\nleast_doubt = 1.5", "10: upgrade.least_doubt: must be a number from 0.0 to 1.0"),
        ("[upgrade]\nleast_doubt = nan", "10: upgrade.least_doubt: must be a number from 0.0 to 1.0"),
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
        (
            "[server]\ntrusted_proxies = ['10.0.0.0/8', '10.0.0.1/8']",
            "10: server.trusted_proxies[1]: must be an address, or a network whose other bits are 0: 10.0.0.0/8",
        ),
        ("[intent]\nask_below = 2", "10: intent.ask_below: must be a number from 0.0 to 1.0"),
        ("[intent]\nclassifier_tier = 'dear'", "10: intent.classifier_tier: no tier is named \"dear\""),
        ("[intent]\ndefault_intent = 'chat'", "10: intent.default_intent: no intent is named \"chat\""),
        ("[intents.a]\ntier = 'dear'\nexamples = ['x']", "10: intents.a.tier: no tier is named \"dear\""),
        ("[intents.a]\ntier = 'cheap'", "9: intents.a.examples: is required"),
        ("[intent]\nask_share = 2", "10: intent.ask_share: must be a number from 0.0 to 1.0"),
        ("[intents.a]\ntier = 'cheap'\nexamples = []", "9: intents.a: examples cannot be empty"),
        (
            "[intents.a]\ntier = 'cheap'\nexamples = ['x',\n ' ']",
            "12: intents.a.examples[1]: must be a text that is not empty",
        ),
        (
            "[intents.'a b']\ntier = 'cheap'\nexamples = ['x']",
            "9: intents.\"a b\": a name has 1 to 128 visible ASCII characters and no space",
        ),
        ("[intent.fitted]\ntemperature = 0.0", "10: intent.fitted.temperature: must be a number from 0.1 to 10.0"),
        ("[intent.fitted]\ntemperature = inf", "10: intent.fitted.temperature: must be a number from 0.1 to 10.0"),
        ("[intent.fitted.bias]\ngreting = 1.0", "10: intent.fitted.bias.greting: no intent is named \"greting\""),
        (
            "[intent.fitted.bias]\ngreeting = nan",
            "10: intent.fitted.bias.greeting: must be a number from -20.0 to 20.0",
        ),
        (
            "[intent.fitted]\nquality = 0.5",
            "10: intent.fitted.quality: unknown field, expected one of temperature, bias",
        ),
        ("[tenant_defaults]\nquality = 1.1", "10: tenant_defaults.quality: must be a number from 0.0 to 1.0"),
        ("[tenant_defaults]\nquality = nan", "10: tenant_defaults.quality: must be a number from 0.0 to 1.0"),
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
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = 5",
            "11: models.x.usd_per_million: must be a table or a list of tables",
        ),
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
            "11: models.x.usd_per_million.outptu: unknown field, expected one of input, output, cached_input, cache_write, cache_write_1h, reasoning, from, until, hours, tiers, service_tiers",
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
            "12: models.x.capabilities[1]: must be tools, json_schema, vision, documents, reasoning, logprobs or prefill",
        ),
        (
            "[models.x]\nprovider = 'local'\nusd_per_million = { input = 1, output = 1 }\napi = 'messages'",
            "12: models.x.api: must be \"chat\", \"responses\" or \"embeddings\", as its provider is called",
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
            "[providers.x]\nkind = 'opanai'",
            "10: providers.x.kind: must be \"openai\", \"anthropic\", \"gemini\", \"azure\", \"bedrock\" or \"simulated\"",
        ),
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
        (
            "[alerts]\nwebhook = 'http://hooks.example/'\nsecret = 'ssm:/a'",
            "10: alerts.webhook: must begin with https://, unless it is on loopback, and have at most 2000 bytes",
        ),
        ("[alerts]\nwebhook = 'https://hooks.example/'", "9: alerts.secret: is required"),
        (
            "[alerts]\nsecret = 'whsec_pasted'",
            "10: alerts.secret: must say where the key is kept (env:NAME, ssm:PATH or secretsmanager:NAME), never the key itself",
        ),
        ("[alerts]\nsecret = 'env:NOT_SET'", "10: alerts.secret: NOT_SET is not set in the environment"),
        (
            "[alerts]\nsns_topic = 'arn:aws:sqs:eu-west-1:123456789012:queue'",
            "10: alerts.sns_topic: must be env:NAME or a topic's ARN: arn:aws:sns:REGION:ACCOUNT:NAME",
        ),
        (
            "[alerts]\nthresholds = [50, 50]",
            "10: alerts.thresholds: must be at most 10 different whole numbers from 1 to 100",
        ),
        (
            "[alerts]\nthresholds = 80",
            "10: alerts.thresholds: must be at most 10 different whole numbers from 1 to 100",
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
