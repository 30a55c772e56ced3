//! The demo tenant: what lets the printed `curl` line work as pasted.
//!
//! It is made once, in a folder that has no tenant yet, and never again: who deletes it, or revokes its key, is rid of it. A
//! start that was killed between the two is known by a tenant that nothing has happened to, and is gone on with.
//! Its key follows from the folder's own secret, so that it can be shown at every start and is yet written down nowhere.

use gateway_core::directory::{AuditEntry, KeyRecord};
use gateway_core::gateway::Gateway;
use gateway_core::tenant::TenantRecord;
use gateway_core::tenant::key::ApiKey;
use serde_json::{Value, json};

const ID: &str = "demo";

/// The demo tenant's key, if there is a demo tenant and it has it still.
pub(crate) async fn tenant(gateway: &Gateway) -> anyhow::Result<Option<String>> {
    let key = ApiKey::derive(&gateway.hasher, "demo tenant");
    let hash = gateway.hasher.hash(key.reveal());
    let directory = &gateway.directory;
    let tenants = directory.tenants(None, 2).await?.data;
    let is_begun = |tenant: &TenantRecord| &*tenant.id == ID && tenant.version == tenant.created_at_ms;
    if tenants.iter().all(is_begun) {
        let now_ms = gateway.clock.now_ms();
        let entry = |what: &str| AuditEntry {
            at_ms: now_ms,
            who: "the first start".to_owned(),
            from: None,
            what: what.to_owned(),
            subject: ID.to_owned(),
            before: Value::Null,
            after: json!({"id": ID}),
        };
        if tenants.is_empty() {
            let body = json!({"id": ID, "name": "Demo"});
            let tenant = TenantRecord::create(body, &gateway.config.tenant_defaults, now_ms)?;
            directory.create_tenant(&tenant, entry("tenant.create")).await?;
        }
        let record = KeyRecord {
            id: "demo".into(),
            tenant: ID.into(),
            hash: hash.hex(),
            name: "demo".to_owned(),
            prefix: key.prefix().to_owned(),
            last4: key.last4().into(),
            created_at_ms: now_ms,
            expires_at_ms: None,
            retires_at_ms: None,
            allowed_models: None,
            limits: None,
            first: None,
            version: 1,
        };
        directory.create_key(&record, entry("key.create")).await?;
    }
    Ok(directory.find_key(&hash).await?.map(|_| key.reveal().to_owned()))
}
