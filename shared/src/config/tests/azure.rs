use crate::catalog::Api;
use crate::config::{Config, ProviderKind};
use crate::wire::openai::MaxTokensField;

const MODEL: &str = "[models.'az/m']\nprovider = 'az'\nusd_per_million = { input = 1, output = 2 }\n\
    [models.'az/r']\nprovider = 'az'\napi = 'responses'\nusd_per_million = { input = 1, output = 2 }\n\
    [tiers]\ncheap = ['az/m', 'az/r']\n";

fn load(fields: &str) -> Result<Config, Vec<String>> {
    let text = format!("[providers.az]\nkind = 'azure'\napi_key = 'env:KEY'\n{fields}\n{MODEL}");
    Config::load(&text, "gateway.toml", &|_| Some("key".to_owned())).map_err(|error| error.problems)
}

#[test]
fn a_resource_is_an_address_and_so_is_whatever_the_portal_shows() {
    for (fields, base_url, version) in [
        ("resource = 'acme-prod'", "https://acme-prod.openai.azure.com", None),
        ("base_url = 'https://a.services.ai.azure.com/'", "https://a.services.ai.azure.com", None),
        ("base_url = 'https://a.openai.azure.com/openai/v1/'", "https://a.openai.azure.com", None),
        (
            "base_url = 'https://gw.example.com/llm/openai'\napi_version = '2024-10-21'",
            "https://gw.example.com/llm",
            Some("2024-10-21"),
        ),
    ] {
        let config = load(fields).unwrap();
        let ProviderKind::Azure(spec) = &config.providers[0].kind else { panic!("it is Azure") };
        assert_eq!((spec.base_url.as_str(), spec.api_version.as_deref()), (base_url, version), "{fields}");
        assert_eq!(spec.max_tokens_field, MaxTokensField::MaxCompletionTokens);
        let apis: Vec<Api> = config.catalog.models.iter().map(|model| model.api).collect();
        assert_eq!(apis, [Api::Chat, Api::Responses]);
    }
}

#[test]
fn what_names_no_resource_is_refused() {
    for (fields, why) in [
        ("", "needs a resource, or a base_url"),
        ("resource = 'acme.openai.azure.com'", "must be a resource's name"),
        ("resource = 'a'\nbase_url = 'https://b'", "cannot stand beside base_url"),
        ("resource = 'a'\napi_version = 'v1'", "leave it out for the v1 addresses"),
        ("resource = 'a'\napi_version = '2024-10-21&x=1'", "must be a date"),
        ("resource = 'a'\nheaders = { api-key = 'k' }", "is set by the gateway"),
    ] {
        let problems = load(fields).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(why)), "{fields}: {problems:?}");
    }
}
