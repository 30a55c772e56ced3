//! Usage by day, tenant and model, page by page.

use super::{DAY_MS, HOUR_MS, MIDNIGHT_MS, ONE, Shared, receipt, record, usage};
use crate::id::RequestId;
use crate::ledger::{UsageQuery, UsageRow};
use crate::limit::window::beginning_of;
use crate::money::Usage;
use crate::receipt::{CacheStatus, Receipt};

/// Three days, two tenants, three models: 18 rows, each of several hours.
async fn record_eighteen_rows(ledger: &Shared) -> Vec<(String, String, String)> {
    let mut keys = Vec::new();
    for (n, day) in ["2025-11-22", "2025-11-23", "2025-11-24"].into_iter().enumerate() {
        for tenant in ["acme", "zeta"] {
            for model in ["", "a/b", "a/b/c"] {
                for hour in [0, 9, 23] {
                    let received = receipt(tenant, MIDNIGHT_MS + n as u64 * DAY_MS + hour * HOUR_MS);
                    record(ledger, &Receipt { model: Some(model.into()), ..received }).await;
                }
                keys.push((day.to_owned(), tenant.to_owned(), model.to_owned()));
            }
        }
    }
    keys
}

fn keys(rows: &[UsageRow]) -> Vec<(String, String, String)> {
    rows.iter().map(|row| (row.day.to_string(), row.tenant.to_string(), row.model.to_string())).collect()
}

pub async fn usage_is_by_day_tenant_and_model(ledger: Shared) {
    let miss = receipt("acme", MIDNIGHT_MS);
    record(&ledger, &miss).await;
    record(&ledger, &receipt("acme", MIDNIGHT_MS + DAY_MS - 1)).await;
    let nothing = Usage::default();
    for (cache, n) in [(CacheStatus::Hit, 1), (CacheStatus::HitSemantic, 2), (CacheStatus::Bypass, 3)] {
        let id = RequestId::new(MIDNIGHT_MS + n);
        ledger.note_hit(&Receipt { id, cache, usage: nothing, cost_nusd: 0, ..miss.clone() }).unwrap();
    }
    record(&ledger, &Receipt { model: None, ..receipt("acme", MIDNIGHT_MS) }).await;
    let rows = usage(&ledger, &UsageQuery::default()).await;
    let row = |model: &str, requests, cache_hits, receipts| UsageRow {
        day: "2025-11-22".into(),
        hour: "".into(),
        tenant: "acme".into(),
        model: model.into(),
        tag: "".into(),
        requests,
        cache_hits,
        input_tokens: receipts * 9,
        output_tokens: receipts * 12,
        cost_nusd: receipts * ONE.cost_nusd,
    };
    assert_eq!(rows, [row("", 1, 0, 1), row("groq/llama-3.3-70b", 5, 2, 2)]);
}

pub async fn usage_is_filtered(ledger: Shared) {
    let all = record_eighteen_rows(&ledger).await;
    let text = |text: &str| Some(text.to_owned());
    let none = UsageQuery::default;
    let day = |n: u64| MIDNIGHT_MS + n * DAY_MS;
    for (query, count) in [
        (none(), 18),
        (UsageQuery { from_ms: day(1), ..none() }, 12),
        (UsageQuery { to_ms: day(2), ..none() }, 12),
        (UsageQuery { from_ms: day(1), to_ms: day(2), ..none() }, 6),
        (UsageQuery { from_ms: day(3), ..none() }, 0),
        (UsageQuery { from_ms: day(2), to_ms: day(1), ..none() }, 0),
        (UsageQuery { tenant: text("zeta"), ..none() }, 9),
        (UsageQuery { tenant: text("zet"), ..none() }, 0),
        (UsageQuery { model: text("a/b"), ..none() }, 6),
        (UsageQuery { model: text(""), ..none() }, 6),
        (UsageQuery { tenant: text("acme"), model: text("a/b/c"), to_ms: day(1), ..none() }, 1),
    ] {
        let rows = usage(&ledger, &query).await;
        let expected: Vec<_> = all
            .iter()
            .filter(|(day, ..)| (query.from_ms..query.to_ms).contains(&beginning_of(day).unwrap()))
            .filter(|(_, tenant, _)| query.tenant.as_ref().is_none_or(|asked| tenant == asked))
            .filter(|(_, _, model)| query.model.as_ref().is_none_or(|asked| model == asked))
            .cloned()
            .collect();
        assert_eq!(expected.len(), count, "{query:?}");
        assert_eq!(keys(&rows), expected, "{query:?}");
    }
}

pub async fn pages_of_usage_are_complete_and_stable(ledger: Shared) {
    let all = record_eighteen_rows(&ledger).await;
    let models: Vec<_> = all.iter().filter(|(_, _, model)| model == "a/b").cloned().collect();
    for (model, expected) in [(None, &all), (Some("a/b".to_owned()), &models)] {
        for limit in [1, 2, 5, 6, 17, 18, 19] {
            let query = UsageQuery { model: model.clone(), ..UsageQuery::default() };
            let (mut rows, mut cursor) = (Vec::new(), None);
            loop {
                let page = ledger.usage(&query, cursor.as_deref(), limit).await.unwrap();
                assert!(page.data.len() == limit || page.next.is_none(), "only the last page is short of {limit}");
                rows.extend(page.data);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
                // What is counted while somebody reads adds to a row and makes no other.
                record(&ledger, &Receipt { model: Some("a/b".into()), ..receipt("acme", MIDNIGHT_MS) }).await;
            }
            assert_eq!(keys(&rows), *expected, "of {model:?}, by pages of {limit}");
        }
    }
}
