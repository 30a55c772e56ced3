//! A server that forgets, is full, goes away or moves its slots.

use super::{Fresh, HOLD, NOW, ZERO, ask, cache_key, introduce, store_at, used_and_held};
use gateway_core::id::RequestId;
use gateway_core::money::Amounts;
use gateway_core::store::contract::Unticketed;
use gateway_core::store::redis::RedisStore;
use gateway_core::store::{
    Admission, CacheKey, Counters, HealthStore, ResponseCache, Settled, Settlement, Store, Ticket, Verdict,
};
use std::sync::Arc;
use test_servers::link::{Link, Manner};
use test_servers::redis::{Redis, RedisCluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

async fn admit(store: &RedisStore, ask: &Admission) -> Verdict {
    store.counters().admit_unticketed(ask, false, NOW).await.unwrap()
}

fn renewed(ask: &Admission) -> Admission {
    Admission { id: RequestId::new(NOW), ..ask.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_are_forgotten_all_the_time_cost_no_error() {
    let redis = Redis::start(&[]).await.unwrap();
    let store = Arc::new(store_at(&redis.url()));
    introduce(&store, &ask("acme")).await;
    let mut forgetting = JoinSet::new();
    let mut line = TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
    forgetting.spawn(async move {
        let mut answer = [0; 64];
        loop {
            line.write_all(b"SCRIPT FLUSH\r\n").await.unwrap();
            assert!(line.read(&mut answer).await.unwrap() > 0);
        }
    });
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..40 {
                let ask = ask("acme");
                let (verdict, _) =
                    Store::admit(&*store, &ask, &mut Ticket::new(ask.id), Some(&cache_key("acme", 1)), NOW)
                        .await
                        .unwrap();
                assert!(matches!(verdict, Verdict::Admitted { .. }), "{verdict:?}");
                let settled = Store::settle(&*store, &Settlement::of(&ask, HOLD), &Ticket::new(ask.id), &[], None, NOW)
                    .await
                    .unwrap();
                assert_eq!(settled, Settled::Done);
            }
        });
    }
    tasks.join_all().await;
    forgetting.abort_all();
    let used = gateway_core::money::Amounts { requests: 320, tokens: 32_000, cost_nusd: 320_000 };
    assert_eq!(used_and_held(&store, "acme").await, (used, ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_of_a_cluster_learns_the_scripts_that_it_lacks() {
    let cluster = RedisCluster::start(3, 0).await.unwrap();
    let store = store_at(&cluster.url());
    let tenants: Vec<String> = (0..12).map(|number| format!("tenant-{number}")).collect();
    for node in cluster.nodes() {
        assert_eq!(node.ask(&["SCRIPT", "FLUSH"]).await.unwrap(), "OK");
        for tenant in &tenants {
            introduce(&store, &ask(tenant)).await;
            assert!(matches!(admit(&store, &ask(tenant)).await, Verdict::Admitted { .. }));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_memory_refuses_admissions_and_takes_settlements() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]).await.unwrap();
    let store = store_at(&redis.url());
    let [settled, released, lost, late] = [0; 4].map(|_| ask("acme"));
    introduce(&store, &settled).await;
    let lost = Admission { lease_until_ms: NOW + 1, ..lost };
    for ask in [&settled, &released, &lost] {
        admit(&store, ask).await;
    }
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    for _ in 0..5 {
        let refused = store.counters().admit_unticketed(&late, false, NOW).await.unwrap_err();
        assert!(refused.0.contains("OOM") || refused.0.contains("memory"), "{refused}");
    }
    assert!(!store.is_skipped(), "it is well otherwise");
    assert!(store.put(&cache_key("acme", 1), "answer".into(), 1_000, NOW).await.is_err());
    assert_eq!(store.settle_unticketed(&Settlement::of(&settled, HOLD), NOW).await.unwrap(), Settled::Done);
    store.release_unticketed(&released, NOW).await.unwrap();
    let counted = store.usage("acme", &[super::day()], NOW + 1).await.unwrap()[0].unwrap();
    assert_eq!(
        (counted.used, counted.held),
        (HOLD.plus(HOLD), ZERO),
        "the lost one is charged, the refused took nothing"
    );
    let lost = store.take_expired("acme");
    store.acknowledge("acme", &lost, NOW + 1).await.unwrap();
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    assert!(matches!(admit(&store, &late).await, Verdict::Admitted { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_died_unnoticed_costs_no_error() {
    let mut redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    let ask = ask("acme");
    introduce(&store, &ask).await;
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    assert!(matches!(admit(&store, &ask).await, Verdict::Admitted { .. }));
    redis.restart().await.unwrap();
    let mut ticket = Ticket::new(ask.id);
    let verdict = store.counters().admit(&ask, &mut ticket, false, NOW).await.unwrap();
    assert!(matches!(verdict, Verdict::Stale { settings: true, .. }), "it is empty: {verdict:?}");
    assert!(ticket.is_doubtful(), "it was sent twice");
    let link = Link::start(([127, 0, 0, 1], redis.port()).into()).await.unwrap();
    let store = store_at(&format!("redis://{}", link.address()));
    store.ping(NOW).await.unwrap();
    link.set(Manner::Swallow);
    let silent = store.ping(NOW).await.unwrap_err();
    assert!(silent.0.contains("no connection"), "{silent}");
    link.set(Manner::Pass);
    store.ping(NOW).await.unwrap();
}

/// Carries connections to a server. While `stuck`, what is asked on the first stays on its way until that ends.
async fn carry_late(listener: TcpListener, port: u16, stuck: watch::Receiver<bool>) {
    let mut carried = JoinSet::new();
    let mut is_first = true;
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut asks, mut hears) = client.into_split();
        let (mut answers, mut to_server) = server.into_split();
        carried.spawn(async move { drop(tokio::io::copy(&mut answers, &mut hears).await) });
        let mut until = std::mem::replace(&mut is_first, false).then(|| stuck.clone());
        carried.spawn(async move {
            let mut bytes = vec![0; 65_536];
            while let Ok(length @ 1..) = asks.read(&mut bytes).await {
                if let Some(stuck) = &mut until {
                    stuck.wait_for(|stuck| !stuck).await.unwrap();
                }
                to_server.write_all(&bytes[..length]).await.unwrap();
            }
        });
    }
}

/// A request is admitted when the limit is `limit` requests, of which another has one in flight if the tenant is known; its
/// admission is sent twice, and what was sent first is heard when `end` is over. What is used and held then.
async fn delivered_late(
    known: bool,
    limit: u64,
    key: Option<&CacheKey>,
    end: impl AsyncFn(&RedisStore, &Admission, &mut Ticket, Verdict),
) -> (Amounts, Amounts) {
    let redis = Redis::start(&[]).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stick, stuck) = watch::channel(false);
    let mut line = JoinSet::new();
    line.spawn(carry_late(listener, redis.port(), stuck));
    let (store, other) = (store_at(&format!("redis://{address}")), store_at(&redis.url()));
    let limited = || {
        let mut ask = ask("acme");
        ask.quotas[0].requests = Some(limit);
        ask
    };
    let (first, late) = (limited(), limited());
    store.ping(NOW).await.unwrap();
    if known {
        introduce(&store, &first).await;
        assert!(matches!(admit(&other, &first).await, Verdict::Admitted { .. }));
    }
    stick.send(true).unwrap();
    // Its repetition goes over a new connection.
    let mut ticket = Ticket::new(late.id);
    let (verdict, _) = Store::admit(&store, &late, &mut ticket, key, NOW).await.unwrap();
    assert!(ticket.is_doubtful());
    end(&store, &late, &mut ticket, verdict).await;
    other.release_unticketed(&first, NOW).await.unwrap();
    let scripts_run = async || {
        let counted = redis.ask(&["INFO", "commandstats"]).await.unwrap();
        let calls = counted.split_once("cmdstat_evalsha:calls=").unwrap().1.split(',').next().unwrap();
        calls.parse::<u64>().unwrap()
    };
    let before = scripts_run().await;
    stick.send(false).unwrap();
    while scripts_run().await == before {
        tokio::task::yield_now().await;
    }
    used_and_held(&other, "acme").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_that_arrives_after_its_repetition_was_refused_takes_nothing() {
    let counted = delivered_late(true, 1, None, async |store, ask, ticket, verdict| {
        assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}");
        // As the pipeline does with each request that comes to nothing in doubt.
        store.release(ask, ticket, NOW).await.unwrap();
    });
    assert_eq!(counted.await, (ZERO, ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_that_arrives_after_its_repetition_was_settled_takes_nothing() {
    for key in [None, Some(&cache_key("acme", 1))] {
        let counted = delivered_late(true, 2, key, async |store, ask, ticket, verdict| {
            assert!(matches!(verdict, Verdict::Admitted { held: HOLD, .. }), "{verdict:?}");
            let settled = Counters::settle(store, &Settlement::of(ask, HOLD), ticket, NOW).await.unwrap();
            assert_eq!(settled, Settled::Done);
        });
        assert_eq!(counted.await, (HOLD, ZERO));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_that_arrives_after_it_was_stale_and_retried_takes_nothing() {
    for (limit, used) in [(1, ZERO), (2, HOLD)] {
        let counted = delivered_late(false, limit, None, async |store, ask, ticket, verdict| {
            assert!(matches!(verdict, Verdict::Stale { .. }), "{verdict:?}");
            introduce(store, ask).await;
            let another = renewed(ask);
            assert!(matches!(admit(store, &another).await, Verdict::Admitted { .. }));
            match store.counters().admit(ask, ticket, false, NOW).await.unwrap() {
                Verdict::Admitted { .. } => {
                    let settled = Counters::settle(store, &Settlement::of(ask, HOLD), ticket, NOW).await.unwrap();
                    assert_eq!(settled, Settled::Done);
                }
                _ => store.release(ask, ticket, NOW).await.unwrap(),
            }
            store.release_unticketed(&another, NOW).await.unwrap();
            let newer = Admission { settings_version: ask.settings_version + 1, ..renewed(ask) };
            let mut ticket = Ticket::new(newer.id);
            let sent_once = store.counters().admit(&newer, &mut ticket, false, NOW).await.unwrap();
            assert!(matches!(sent_once, Verdict::Stale { .. }) && !ticket.is_doubtful(), "{sent_once:?}");
        });
        assert_eq!(counted.await, (used, ZERO), "limit {limit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_skipped_and_found_again() {
    let mut redis = Redis::start(&[]).await.unwrap();
    let store = store_at(&redis.url());
    store.ping(NOW).await.unwrap();
    redis.kill().unwrap();
    for failures in 1..=3 {
        assert!(!store.is_skipped(), "after {failures} failures");
        store.ping(NOW).await.unwrap_err();
    }
    assert!(store.is_skipped());
    let refused = store.counters().admit_unticketed(&ask("acme"), false, NOW).await.unwrap_err();
    assert!(refused.0.contains("skipped"), "{refused}");
    redis.restart().await.unwrap();
    while store.is_skipped() {
        tokio::task::yield_now().await;
    }
    store.ping(NOW).await.unwrap();
    assert!(!store.is_skipped());
    let models = store.snapshot(&["m".into()], NOW).await.unwrap();
    assert_eq!(models.len(), 1);
}

/// Moves a slot as `redis-cli --cluster reshard` does, over connections that stand, hence quickly.
async fn move_slot(slot: &str, from: &Redis, to: &Redis) {
    let connect = async |node: &Redis| {
        let client = ::redis::Client::open(node.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    };
    let (mut source, mut target) = (connect(from).await, connect(to).await);
    let send = async |line: &mut ::redis::aio::MultiplexedConnection, command: &[&str]| -> ::redis::Value {
        ::redis::cmd(command[0]).arg(&command[1..]).query_async(line).await.unwrap()
    };
    let mut ids = Vec::new();
    for line in [&mut source, &mut target] {
        ids.push(::redis::from_redis_value::<String>(send(line, &["CLUSTER", "MYID"]).await).unwrap());
    }
    send(&mut target, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &ids[0]]).await;
    send(&mut source, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &ids[1]]).await;
    let port = to.port().to_string();
    loop {
        let keys = send(&mut source, &["CLUSTER", "GETKEYSINSLOT", slot, "1000"]).await;
        let keys: Vec<String> = ::redis::from_redis_value(keys).unwrap();
        if keys.is_empty() {
            break;
        }
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.iter().map(String::as_str));
        send(&mut source, &migrate).await;
    }
    for line in [&mut target, &mut source] {
        send(line, &["CLUSTER", "SETSLOT", slot, "NODE", &ids[1]]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_under_load_is_followed_and_nothing_counts_twice() {
    let cluster = RedisCluster::start(3, 0).await.unwrap();
    let store = Fresh::at(cluster.url()).store();
    let first = ask("acme");
    introduce(&store, &first).await;
    let key = "t0:2:{acme}:s";
    let slot = cluster.ask(&["CLUSTER", "KEYSLOT", key]).await.unwrap();
    let from = cluster.primary_of(key).await.unwrap();
    let to = (from + 1) % 3;
    let mut tasks = JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for _ in 0..4 {
        let (store, first, stopped) = (store.clone(), first.clone(), stopped.clone());
        tasks.spawn(async move {
            let mut served = 0;
            while !*stopped.borrow() || served < 50 {
                // A move that takes longer than two tries fails them; what is sent again then counts once all the same.
                let ask = renewed(&first);
                let verdict = loop {
                    match Store::admit(&*store, &ask, &mut Ticket::new(ask.id), Some(&cache_key("acme", 1)), NOW).await
                    {
                        Ok((verdict, _)) => break verdict,
                        Err(_) => tokio::task::yield_now().await,
                    }
                };
                assert!(matches!(verdict, Verdict::Admitted { .. }), "{verdict:?}");
                let settlement = Settlement::of(&ask, HOLD);
                while Store::settle(&*store, &settlement, &Ticket::new(ask.id), &[], None, NOW).await.is_err() {
                    tokio::task::yield_now().await;
                }
                served += 1;
            }
            served
        });
    }
    move_slot(&slot, &cluster.nodes()[from], &cluster.nodes()[to]).await;
    stop.send_replace(true);
    let served: u64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(cluster.primary_of(key).await.unwrap(), to);
    let (used, held) = used_and_held(&store, "acme").await;
    assert_eq!((used.requests, held), (served, ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_dies_or_freezes_is_replaced_and_the_other_shards_go_on() {
    for signal in ["KILL", "STOP"] {
        let cluster = RedisCluster::start(3, 1).await.unwrap();
        let store = store_at(&cluster.url());
        let tenants: Vec<String> = (0..9).map(|number| format!("tenant-{number}")).collect();
        for tenant in &tenants {
            introduce(&store, &ask(tenant)).await;
        }
        let primary = async |tenant: &str| cluster.primary_of(&format!("gw:3:{{{tenant}}}")).await.unwrap();
        let failed = primary(&tenants[0]).await;
        let (mut others, mut theirs) = (Vec::new(), Vec::new());
        for tenant in &tenants {
            if primary(tenant).await == failed { theirs.push(tenant) } else { others.push(tenant) }
        }
        cluster.nodes()[failed].signal(signal).await.unwrap();
        let mut refused = 0;
        while store.counters().admit_unticketed(&ask(theirs[0]), false, NOW).await.is_err() {
            refused += 1;
            assert!(refused < 2_000, "{signal}: nobody takes its place");
            for tenant in &others {
                let served = store.counters().admit_unticketed(&ask(tenant), false, NOW).await;
                assert!(served.is_ok(), "{signal}: {served:?}, after {refused} of the failed shard");
            }
        }
        // What a primary had not yet told its replica is lost, and is then missing whole (M5).
        for tenant in &theirs {
            let verdict = admit(&store, &ask(tenant)).await;
            assert!(matches!(verdict, Verdict::Admitted { .. } | Verdict::Stale { .. }), "{signal}: {verdict:?}");
        }
    }
}
