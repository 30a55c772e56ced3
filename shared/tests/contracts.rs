//! Every implementation of every border, held to the border's list of cases. A further implementation is one more line.

use crate::rig::Folder;
use gateway_core::directory::contract as directory;
use gateway_core::directory::embedded::EmbeddedDirectory;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::ledger::contract as ledger;
use gateway_core::ledger::embedded::EmbeddedLedger;
use gateway_core::store::memory::{MemoryCache, MemoryCounters, MemoryHealth};
use gateway_core::store::{Counters, HealthStore, ResponseCache, contract as store};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_in_memory_keep_the_contract() {
    store::counters(async || Arc::new(MemoryCounters::default()) as Arc<dyn Counters>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_in_memory_keeps_the_contract() {
    store::response_cache(async || Arc::new(MemoryCache::new(10_000, 4 << 20, 1 << 20)) as Arc<dyn ResponseCache>)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_in_memory_keeps_the_contract() {
    let fresh = || MemoryHealth::new(&HealthSettings::default(), BreakerSettings::default());
    store::health(async || Arc::new(fresh()) as Arc<dyn HealthStore>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_directory_keeps_the_contract() {
    let folder = Folder::new();
    directory::suite(async || EmbeddedDirectory::open(&folder.next()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_ledger_keeps_the_contract() {
    let folder = Folder::new();
    ledger::suite(async || EmbeddedLedger::open(&folder.next(), ledger::MIDNIGHT_MS).unwrap()).await;
}
