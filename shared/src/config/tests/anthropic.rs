use crate::catalog::Api;
use crate::config::{Config, ProviderKind};

#[test]
fn anthropic_needs_no_address_and_its_models_are_called_in_its_format() {
    let text = "[providers.claude]\nkind = 'anthropic'\napi_keys = ['env:A', 'env:B']\nheaders = { anthropic-beta = 'x' }\n\
        [models.'claude/m']\nprovider = 'claude'\nusd_per_million = { input = 1, output = 2 }\n[tiers]\ncheap = ['claude/m']\n";
    let load = |text: &str| Config::load(text, "gateway.toml", &|_| Some("key".to_owned())).unwrap();
    let config = load(text);
    let ProviderKind::Anthropic(spec) = &config.providers[0].kind else { panic!("it speaks Anthropic's") };
    assert_eq!((spec.base_url.as_str(), spec.api_keys.len(), spec.headers.len()), ("https://api.anthropic.com", 2, 1));
    assert_eq!(config.catalog.models[0].api, Api::Messages);
    let elsewhere = load(&text.replace("'anthropic'", "'anthropic'\nbase_url = 'http://127.0.0.1:1/anthropic/'"));
    assert_eq!(elsewhere.providers[0].kind.base_url(), Some("http://127.0.0.1:1/anthropic"));
}

#[test]
fn so_does_google() {
    let text = "[providers.gemini]\nkind = 'gemini'\napi_key = 'env:GEMINI_API_KEY'\n\
        [tiers]\ncheap = ['gemini/gemini-3.8-flash']\n";
    let config = Config::load(text, "gateway.toml", &|_| Some("key".to_owned())).unwrap();
    let base_url = Some("https://generativelanguage.googleapis.com/v1beta");
    assert_eq!(config.providers[0].kind.base_url(), base_url);
    let model = &config.catalog.models[0];
    assert_eq!((model.api, &*model.provider_model), (Api::GenerateContent, "gemini-3.8-flash"));
    let headers =
        "[providers.gemini]\nkind = 'gemini'\nheaders = { x-goog-api-key = 'k' }\n[tiers]\ncheap = ['sim/cheap']\n";
    let problems = Config::load(headers, "gateway.toml", &|_| None).unwrap_err().to_string();
    assert!(problems.contains("is set by the gateway"), "{problems}");
}
