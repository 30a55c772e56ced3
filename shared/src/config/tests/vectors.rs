use super::*;
use crate::catalog::{Api, Target, Vectors};

/// A configuration with a model that makes vectors.
fn file(fields: &str) -> String {
    let table = "[models.'local/v']\nprovider = 'local'\nid = 'v1'\nusd_per_million = { input = 1, output = 0 }\n";
    format!("{LOCAL}{table}{fields}\n{SMALLEST}")
}

#[test]
fn a_model_that_makes_vectors_says_which() {
    let vectors = |fields: &str| {
        let config = load(&file(fields));
        let Some(Target::Model(model)) = config.catalog.resolve("local/v") else { panic!("a model") };
        model.vectors.clone()
    };
    assert_eq!(vectors(""), None);
    let usual = Vectors { name: "v1".into(), dimensions: 768, takes_tokens: false, gives_base64: false };
    assert_eq!(vectors("api = 'embeddings'\ndimensions = 768"), Some(usual.clone()));
    let all = Vectors { name: "theirs".into(), takes_tokens: true, gives_base64: true, ..usual };
    let fields = "api = 'embeddings'\ndimensions = 768\nvectors = 'theirs'\ntoken_input = true\nbase64 = true";
    assert_eq!(vectors(fields), Some(all));
}

#[test]
fn what_is_wrong_with_it_is_told() {
    for (fields, problem) in [
        ("api = 'embeddings'", "local/v\".dimensions: is required"),
        ("api = 'embeddings'\ndimensions = 0", "dimensions: must be a whole number from 1 to 65536"),
        ("dimensions = 768", "local/v\".dimensions: unknown field"),
        ("api = 'vectors'", "must be \"chat\", \"responses\" or \"embeddings\""),
    ] {
        let found = problems(&file(fields));
        assert!(found.len() == 1 && found[0].contains(problem), "{fields}: {found:?}");
    }
    let in_tier = file("api = 'embeddings'\ndimensions = 3").replace("['sim/cheap']", "['local/v']");
    let found = problems(&in_tier);
    assert!(found[0].contains("tiers.cheap[0]: \"local/v\" makes vectors"), "{found:?}");
}

#[test]
fn an_embedder_may_serve_clients_too() {
    let of = |fields: &str| {
        load(&format!("{}[aliases]\ne = 'local/v'\n[embedder]\nmodel = 'local/v'\ndimensions = 3\n", file(fields)))
    };
    let config = of("api = 'embeddings'\ndimensions = 3");
    assert_eq!(config.embedder.as_ref().map(|embedder| embedder.model.api), Some(Api::Embeddings));
    assert!(matches!(config.catalog.resolve("e"), Some(Target::Model(model)) if *model.name == *"local/v"));
}

#[test]
fn the_catalogs_vectors_of_one_name_are_equal_and_others_are_not() {
    let all = "[catalog]\nshipped = 'all'\n[providers.openai]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:1'\n\
        [providers.openrouter]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:2'\n";
    let config = load(&format!("{all}{SMALLEST}"));
    let like = |name: &str| {
        let Some(Target::Model(model)) = config.catalog.resolve(name) else { panic!("{name}") };
        config.catalog.with_its_like(&model).iter().map(|model| model.name.to_string()).collect::<Vec<_>>()
    };
    for size in ["small", "large"] {
        let names = ["openai", "openrouter"].map(|provider| format!("{provider}/text-embedding-3-{size}"));
        assert_eq!(like(&format!("text-embedding-3-{size}")), names);
    }
    assert_eq!(like("openai/text-embedding-ada-002"), ["openai/text-embedding-ada-002"]);
    assert_eq!(like("openai/gpt-4o"), ["openai/gpt-4o"]);
}
