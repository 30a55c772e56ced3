//! Every implementation of every border, held to the border's cases: a test of each. A further implementation is one line.
//!
//! What is in a server is in one that all these tests share, each apart by a prefix or a table of its own.

use crate::rig::Folder;
use gateway_core::directory::dynamodb::DynamoDirectory;
use gateway_core::directory::embedded::EmbeddedDirectory;
use gateway_core::dynamodb::Table;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::id::RequestId;
use gateway_core::ledger::contract::MIDNIGHT_MS;
use gateway_core::ledger::dynamodb::DynamoLedger;
use gateway_core::ledger::embedded::EmbeddedLedger;
use gateway_core::store::memory::{MemoryCache, MemoryCounters, MemoryHealth};
use gateway_core::store::redis::RedisStore;
use gateway_core::{counters_contract, directory_contract, health_contract, ledger_contract, response_cache_contract};
use test_servers::dynamodb::{DynamoDbLocal, Ministack};
use test_servers::redis::{Redis, RedisCluster};

counters_contract!(counters_in_memory, MemoryCounters::default());
counters_contract!(counters_in_redis, in_redis().await);
counters_contract!(counters_in_a_cluster, in_a_cluster().await);

response_cache_contract!(cache_in_memory, MemoryCache::new(10_000, 4 << 20, 1 << 20));
response_cache_contract!(cache_in_redis, in_redis().await);
response_cache_contract!(cache_in_a_cluster, in_a_cluster().await);

health_contract!(health_in_memory, MemoryHealth::new(&HealthSettings::default(), BreakerSettings::default()));
health_contract!(health_in_redis, in_redis().await);
health_contract!(health_in_a_cluster, in_a_cluster().await);

directory_contract!(directory_on_disk(folder = Folder::new()), EmbeddedDirectory::open(&folder.next()).unwrap());
directory_contract!(directory_in_dynamodb_local, DynamoDirectory::new(in_dynamodb_local().await));
directory_contract!(directory_in_ministack, DynamoDirectory::new(in_ministack().await));

ledger_contract!(ledger_on_disk(folder = Folder::new()), EmbeddedLedger::open(&folder.next(), MIDNIGHT_MS).unwrap());
ledger_contract!(ledger_in_dynamodb_local, DynamoLedger::new(in_dynamodb_local().await));
ledger_contract!(ledger_in_ministack, DynamoLedger::new(in_ministack().await));

/// A store of its own, with room for 1 MiB in a remembered answer.
fn store_at(url: &str) -> RedisStore {
    let store = RedisStore::new(url, &HealthSettings::default(), &BreakerSettings::default(), 1 << 20).unwrap();
    store.with_prefix(&format!("{}:", RequestId::new(0)))
}

async fn in_redis() -> RedisStore {
    store_at(&Redis::shared().await.unwrap().url())
}

async fn in_a_cluster() -> RedisStore {
    store_at(&RedisCluster::shared().await.unwrap().url())
}

/// A table of its own, empty.
async fn table_at(url: &str) -> Table {
    let table = Table::at_emulator(url, &RequestId::new(0).to_string()).await.unwrap();
    // An emulator loads what it needs with its first call, for which a busy machine may take longer than a call is given.
    let mut made = table.create().await;
    for _ in 0..5 {
        if made.is_err() {
            made = table.create().await;
        }
    }
    made.unwrap();
    table
}

async fn in_dynamodb_local() -> Table {
    table_at(&DynamoDbLocal::shared().await.unwrap().url()).await
}

async fn in_ministack() -> Table {
    table_at(&Ministack::shared().await.unwrap().url()).await
}
