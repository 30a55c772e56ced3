use crate::catalog::Api;
use crate::config::{Config, ProviderKind, SHIPPED};

const MODEL: &str =
    "[models.'aws/m']\nprovider = 'aws'\nusd_per_million = { input = 1, output = 2 }\n[tiers]\ncheap = ['aws/m']\n";

fn load(fields: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let text = format!("[providers.aws]\nkind = 'bedrock'\n{fields}\n{MODEL}");
    let value = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Config::load(&text, "gateway.toml", &value).map_err(|error| error.problems)
}

#[test]
fn a_region_is_all_that_it_needs_and_the_environment_may_say_it() {
    const RUNTIME: &str = "https://bedrock-runtime.eu-west-1.amazonaws.com";
    const MANTLE: &str = "https://bedrock-mantle.eu-west-1.api.aws";
    for (fields, env, base_url, keys, service) in [
        ("region = 'eu-west-1'", &[][..], RUNTIME, 0, "bedrock"),
        ("", &[("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "us-east-1")], RUNTIME, 0, "bedrock"),
        ("", &[("AWS_DEFAULT_REGION", "eu-west-1")], RUNTIME, 0, "bedrock"),
        ("region = 'eu-west-1'\napi_key = 'env:KEY'", &[("KEY", "k")], RUNTIME, 1, "bedrock"),
        (
            "region = 'eu-west-1'\nbase_url = 'https://bedrock-mantle.eu-west-1.api.aws/'",
            &[],
            MANTLE,
            0,
            "bedrock-mantle",
        ),
    ] {
        let config = load(fields, env).unwrap();
        let ProviderKind::Bedrock(spec) = &config.providers[0].kind else { panic!("it is Bedrock") };
        let found = (spec.base_url.as_str(), spec.api_keys.len(), &*spec.region, spec.service());
        assert_eq!(found, (base_url, keys, "eu-west-1", service), "{fields}");
        assert_eq!(config.catalog.models[0].api, Api::Converse);
    }
    for (fields, why) in [
        ("", "needs a region, for AWS_REGION is not set"),
        ("region = 'https://evil'", "must be a region such as"),
        ("region = 'eu-west-1'\napi_key = 'env:KEY'", "KEY is not set in the environment"),
        ("region = 'eu-west-1'\napi_version = '2024-10-21'", "api_version"),
    ] {
        let problems = load(fields, &[]).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(why)), "{fields}: {problems:?}");
    }
}

#[test]
fn the_shipped_tiers_have_bedrocks_models_where_it_is_set_up() {
    let tier = |env: &[(&str, &str)]| {
        let value = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let config = Config::load(SHIPPED, "gateway.toml", &value).unwrap();
        let names: Vec<String> =
            config.catalog.tier("cheap").unwrap().models.iter().map(|model| model.name.to_string()).collect();
        (names.contains(&"bedrock/nova-lite".to_owned()), config.notices.join("\n"))
    };
    let region = ("AWS_REGION", "us-east-1");
    assert!(tier(&[("AWS_BEARER_TOKEN_BEDROCK", "k"), region]).0);
    assert!(tier(&[("GATEWAY_BEDROCK_ROLE", "yes"), region]).0);
    // Whoever runs on AWS has not asked for it.
    assert!(!tier(&[region, ("GATEWAY_BEDROCK_ROLE", "no")]).0);
    let (serves, notices) = tier(&[("AWS_BEARER_TOKEN_BEDROCK", "k")]);
    assert!(!serves && notices.contains("bedrock is skipped, for AWS_REGION is not set"), "{notices}");
}
