use super::*;

#[test]
fn a_variable_may_hold_where_the_key_is_kept() {
    let text = format!(
        "{SMALLEST}{}",
        "[providers.p]\nkind = 'openai'\nbase_url = 'http://h'\napi_keys = ['env:A', 'env:B', 'env:C']\n"
    );
    let env = |name: &str| {
        let held = match name {
            "A" => " secretsmanager:gateway/openai\n",
            "B" => "ssm:/gateway/openai",
            _ => "sk-of-c",
        };
        Some(held.to_owned())
    };
    let config = Config::load(&text, "gateway.toml", &env).unwrap();
    let kept = [SecretRef::SecretsManager("gateway/openai".into()), SecretRef::Ssm("/gateway/openai".into())];
    let [first, second] = kept.map(ApiKey::Pending);
    let known = ApiKey::Known(Secret::new("sk-of-c").unwrap());
    assert_eq!(config.providers[0].kind.api_keys(), [first, second, known]);
}
