//! Redis by itself: what one of its cores can take, and what a request weighs in its memory.
//!
//! The store is driven past the gateway, by as many connections as so many functions would have, each with one request at
//! a time. Fewer connections with more on each would flatter the figure, for the server reads many commands at once then.
//! The server has a core to itself. The load works harder than the server and is what limits the rate, so a figure is the
//! server's own CPU per request; 1e6 over it is what its core could take, and the rate reached stands beside it.

use crate::figures::Figure;
use crate::machine::{Cores, Spent, Watch, bind};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::health::score::HealthSettings;
use gateway_core::health::{Observation, Signal};
use gateway_core::id::RequestId;
use gateway_core::limit::gcra::Rate;
use gateway_core::limit::window::Window;
use gateway_core::money::Amounts;
use gateway_core::store::redis::RedisStore;
use gateway_core::store::{Admission, CacheKey, CacheWrite, QuotaAsk, Settled, Settlement, Store, Ticket, Verdict};
use std::sync::Arc;
use std::time::SystemTime;
use test_servers::redis::Redis;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 64;
const TENANTS: usize = 256;
const MODELS: u64 = 4;
/// Requests in one pass.
const REQUESTS: usize = 16_000;
/// Rounds in which each kind has its turn. The pass that cost least is reported: whatever disturbs one makes it dearer, and
/// on a virtual machine not all of that shows as foreign.
const ROUNDS: usize = 3;
/// From one settlement of a connection to the next, of the time that is told.
const APART_MS: u64 = 150;
/// The configured deadline's default, and a minute.
const LEASE_MS: u64 = 360_000;
const ANSWER: Bytes = Bytes::from_static(&[b'a'; 1_000]);
const TTL_MS: u64 = 300_000;
/// Where answers lie: none, the one that hits find, and those that nobody looks for again.
const NONE: u8 = 0;
const FOUND: u8 = 1;
const WRITTEN: u8 = 2;
/// A limit that nobody reaches.
const AMPLE: u64 = 1_000_000_000;
const HELD: Amounts = Amounts { requests: 1, tokens: 4_200, cost_nusd: 2_500_000 };
const USED: Amounts = Amounts { requests: 1, tokens: 700, cost_nusd: 300_000 };

/// A request, and the ticket of its admission.
type Ask = (Admission, Ticket);

/// What is done with each request.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Its admission, a miss.
    Admit,
    /// Its settlement.
    Settle,
    Both,
    /// Both, with what a gateway sends beside the settlement: the answer to remember and what was observed of its model.
    Whole,
    /// An admission that the daily quota of requests refuses, the last limit that is looked at.
    Refuse,
    /// An admission that finds its answer.
    Hit,
}

/// The rows, and the server's version.
pub(crate) async fn measure(cores: Option<&Cores>) -> anyhow::Result<(Vec<Figure>, String)> {
    let rig = Rig::set(cores).await?;
    let (many, hot) = (&rig.tenants[..], &rig.tenants[..1]);
    rig.pass(rig.asks(many, AMPLE)?, Deed::Whole).await?;

    let kinds = [
        ("admission, 256 tenants", many, Deed::Admit),
        ("admission and settlement, 256 tenants", many, Deed::Both),
        ("admission and settlement, one tenant", hot, Deed::Both),
        ("… with the answer and the model's health, 256 tenants", many, Deed::Whole),
        ("refused admission, one tenant", hot, Deed::Refuse),
        ("cache hit of 1 kB, 256 tenants", many, Deed::Hit),
    ];
    let mut least: [Option<Spent<1>>; 6] = [None; 6];
    let mut weights = None;
    for _ in 0..ROUNDS {
        for ((_, tenants, deed), least) in kinds.iter().zip(&mut least) {
            let asks = rig.asks(tenants, if matches!(deed, Deed::Refuse) { 0 } else { AMPLE })?;
            let empty = rig.info("memory", "used_memory").await?;
            let (spent, admitted) = rig.pass(asks, *deed).await?;
            if least.is_none_or(|least| spent.cpu_s < least.cpu_s) {
                *least = Some(spent);
            }
            if matches!(deed, Deed::Admit) {
                let in_flight = rig.info("memory", "used_memory").await? - empty;
                rig.pass(admitted, Deed::Settle).await?;
                let done = rig.info("memory", "used_memory").await? - empty;
                weights.get_or_insert((in_flight / REQUESTS as f64, done / REQUESTS as f64));
            }
        }
    }
    let mut figures = Vec::new();
    for ((name, ..), spent) in kinds.iter().zip(&least) {
        figures.extend(rows(name, &spent.context("not one pass")?));
    }
    if let Some((in_flight, done)) = weights {
        figures.push(Figure::new("Redis, memory of a request in flight", in_flight, "bytes"));
        let done_figure = Figure::new("Redis, memory of a request that is done", done, "bytes");
        figures.push(done_figure.ratio(done / in_flight, "in flight"));
    }
    // One more is that of the command that asks.
    let connection = rig.info("memory", "mem_clients_normal").await? / (CONNECTIONS + 1) as f64;
    figures.push(Figure::new("Redis, memory of a connection", connection, "bytes"));
    Ok((figures, rig.field("server", "redis_version").await?))
}

fn rows(name: &str, spent: &Spent<1>) -> [Figure; 2] {
    let [cpu_s] = spent.cpu_s;
    let (a_core, reached) = (REQUESTS as f64 / cpu_s, REQUESTS as f64 / spent.wall_s);
    [
        Figure::new(format!("Redis, {name}, CPU"), 1e6 / a_core, "µs").foreign(spent.foreign_cores),
        Figure::new(format!("Redis, {name}, one core's worth"), a_core, "requests/s")
            .ratio(a_core / reached, "the rate reached")
            .foreign(spent.foreign_cores),
    ]
}

/// The server, and whoever asks it.
struct Rig {
    redis: Redis,
    /// Each has a connection of its own.
    stores: Vec<Arc<RedisStore>>,
    tenants: Vec<Arc<str>>,
    now_ms: u64,
}

impl Rig {
    /// Starts the server, on the gateway's core, and tells it the tenants.
    async fn set(cores: Option<&Cores>) -> anyhow::Result<Self> {
        let redis = Redis::start(&[]).await?;
        if let Some(cores) = cores {
            ensure!(bind(&cores.gateway, redis.pid()), "the server cannot be bound to a core");
        }
        let (health, breaker) = (HealthSettings::default(), BreakerSettings::default());
        let now_ms = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
        let mut stores = Vec::new();
        for _ in 0..CONNECTIONS {
            let store = RedisStore::new(&redis.url(), &health, &breaker, 1 << 20)?;
            store.ping(now_ms).await?;
            stores.push(Arc::new(store));
        }
        let tenants: Vec<Arc<str>> = (0..TENANTS).map(|n| format!("tenant-{n:03}").into()).collect();
        let rig = Self { redis, stores, tenants, now_ms };
        let store = rig.stores.first().context("not one store")?;
        for (ask, _) in rig.asks(&rig.tenants, AMPLE)?.iter().take(TENANTS) {
            let verdict = store.counters().admit(ask, &mut Ticket::new(ask.id), false, now_ms).await?;
            let Verdict::Stale { incarnation, .. } = verdict else { bail!("a new server knows a tenant: {verdict:?}") };
            let windows = windows(now_ms).map(|window| (window, Amounts::default().into()));
            store.counters().rebuild(&ask.tenant, Some(incarnation), 1, &windows, now_ms).await?;
            store.cache().put(&key(&ask.tenant, FOUND), ANSWER, TTL_MS, now_ms).await?;
        }
        Ok(rig)
    }

    /// New requests of these tenants, one after the other.
    fn asks(&self, tenants: &[Arc<str>], daily_requests: u64) -> anyhow::Result<Vec<Ask>> {
        let rate = |limit| Rate::new(limit, 60_000, limit).context("no rate");
        let [day, month] = windows(self.now_ms);
        let ask = |tenant: &Arc<str>| {
            let ask = Admission {
                tenant: tenant.clone(),
                id: RequestId::new(self.now_ms),
                settings_version: 1,
                request_rate: Some(rate(AMPLE)?),
                token_rate: Some(rate(AMPLE)?),
                rate_tokens: HELD.tokens,
                concurrency: Some(AMPLE),
                key: None,
                quotas: vec![
                    QuotaAsk {
                        window: day,
                        requests: Some(daily_requests),
                        tokens: Some(AMPLE * 1_000),
                        cost_nusd: Some(AMPLE * 1_000_000),
                    },
                    QuotaAsk { window: month, requests: None, tokens: None, cost_nusd: Some(AMPLE * 1_000_000) },
                ],
                hold: HELD,
                upper_bound_hold: HELD,
                lease_until_ms: self.now_ms + LEASE_MS,
            };
            let ticket = Ticket::new(ask.id);
            Ok((ask, ticket))
        };
        tenants.iter().cycle().take(REQUESTS).map(ask).collect()
    }

    /// Does it with each request, on all connections at once.
    async fn pass(&self, asks: Vec<Ask>, deed: Deed) -> anyhow::Result<(Spent<1>, Vec<Ask>)> {
        let watch = Watch::begin([self.redis.pid()])?;
        let mut running = JoinSet::new();
        let share = asks.len().div_ceil(CONNECTIONS);
        for (store, asks) in self.stores.iter().zip(asks.chunks(share)) {
            let (store, mut asks, now_ms) = (store.clone(), asks.to_vec(), self.now_ms);
            running.spawn(async move {
                for (at, (ask, ticket)) in (0u64..).zip(&mut asks) {
                    perform(&store, ask, ticket, deed, (now_ms, now_ms + at * APART_MS)).await?;
                }
                anyhow::Ok(asks)
            });
        }
        let mut done = Vec::new();
        while let Some(ended) = running.join_next().await {
            done.extend(ended??);
        }
        Ok((watch.end()?, done))
    }

    async fn info(&self, section: &str, name: &str) -> anyhow::Result<f64> {
        Ok(self.field(section, name).await?.parse()?)
    }

    /// A field of what the server tells of itself.
    async fn field(&self, section: &str, name: &str) -> anyhow::Result<String> {
        let info = self.redis.ask(&["INFO", section]).await?;
        let mut fields = info.lines().filter_map(|line| line.trim().split_once(':'));
        Ok(fields.find(|(field, _)| *field == name).with_context(|| format!("Redis tells no {name}"))?.1.to_owned())
    }
}

async fn perform(
    store: &RedisStore,
    ask: &Admission,
    ticket: &mut Ticket,
    deed: Deed,
    (now_ms, settled_at_ms): (u64, u64),
) -> anyhow::Result<()> {
    if !matches!(deed, Deed::Settle) {
        let looked = key(&ask.tenant, if matches!(deed, Deed::Hit) { FOUND } else { NONE });
        let (verdict, answer) = store.admit(ask, ticket, Some(&looked), now_ms).await?;
        match (deed, &verdict, answer) {
            (Deed::Refuse, Verdict::Refused { .. }, None) => {}
            (Deed::Hit, Verdict::Admitted { .. }, Some(_)) => {}
            (Deed::Admit | Deed::Both | Deed::Whole, Verdict::Admitted { held: HELD, .. }, None) => {}
            _ => bail!("{deed:?}: {verdict:?}"),
        }
    }
    let (observations, write) = match deed {
        Deed::Admit | Deed::Refuse | Deed::Hit => return Ok(()),
        Deed::Settle | Deed::Both => (Vec::new(), None),
        Deed::Whole => {
            let model = format!("double/{}", ask.id.draw() % MODELS).into();
            let signal = Signal::Answered { ttft_ms: 210.0, ms_per_token: Some(7.5) };
            let write = CacheWrite { key: key(&ask.tenant, WRITTEN), value: ANSWER, ttl_ms: TTL_MS, note: None };
            (vec![Observation { model, begun_at_ms: settled_at_ms, signal }], Some(write))
        }
    };
    let settlement = Settlement::of(ask, USED);
    let settled = store.settle(&settlement, ticket, &observations, write, settled_at_ms).await?;
    // The store sends again what was not answered in time, as when the machine stalls; then it was settled before.
    ensure!(matches!(settled, Settled::Done | Settled::Again), "{deed:?}: {settled:?}");
    Ok(())
}

fn windows(now_ms: u64) -> [Window; 2] {
    [Window::day(now_ms, 0), Window::month(now_ms)]
}

fn key(tenant: &Arc<str>, place: u8) -> CacheKey {
    CacheKey { tenant: tenant.clone(), hash: [place; 32] }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn every_request_of_a_pass_ends_as_its_kind_should() {
        let rig = Rig::set(None).await.unwrap();
        for (deed, daily_requests) in
            [(Deed::Both, AMPLE), (Deed::Whole, AMPLE), (Deed::Refuse, 0), (Deed::Hit, AMPLE), (Deed::Admit, AMPLE)]
        {
            let mut asks = rig.asks(&rig.tenants, daily_requests).unwrap();
            asks.truncate(2 * TENANTS);
            let (_, admitted) = rig.pass(asks, deed).await.unwrap();
            if matches!(deed, Deed::Admit) {
                rig.pass(admitted, Deed::Settle).await.unwrap();
            }
        }
    }
}
