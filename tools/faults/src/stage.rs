//! What a scenario plays on: real servers, links in front of them, gateways that share them, and a provider that keeps
//! books of its own. Everything ends with the value, whatever becomes of the scenario.

use crate::books::{Billed, Books, Counted, Entry, provider};
use crate::configuration::configuration;
use crate::gateway::Gateway;
use crate::http::{request, send};
use crate::load::{Load, Seen, send_all};
use crate::table::{Table, warm};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use test_servers::dynamodb::DynamoDbLocal;
use test_servers::front::Front;
use test_servers::link::Link;
use test_servers::redis::{Redis, RedisCluster};
use tokio::time::{Instant, sleep};
use upstream_double::Double;

/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A hold ends this long after its request's deadline.
const LEASE_AFTER_DEADLINE: Duration = Duration::from_secs(60);
/// Requests have this long, so that leases are short.
pub(crate) const DEADLINE: Duration = Duration::from_secs(8);
/// By when all leases of before have ended.
const LEASE: Duration = LEASE_AFTER_DEADLINE.saturating_add(DEADLINE).saturating_add(Duration::from_secs(15));
/// By when the ledger has heard of all of them: a process writes as many as it can in half a second, and what is too much, or
/// was told to one that was killed, is told again a minute later.
pub(crate) const LOST_WRITTEN: Duration = LEASE.saturating_add(Duration::from_secs(10 * 60));
/// By when the books agree where nobody was killed: what was owed to a server is sent when it is back.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Which store the gateways share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each its own; there can only be one gateway, with its directory in a file.
    Memory,
    /// One Redis, with a link in front of it.
    Redis,
    /// Three primaries with a replica each.
    Cluster,
}

/// How a stage is set.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) store: Kind,
    pub(crate) gateways: usize,
    /// The tenant's limits; what is not named has none.
    pub(crate) limits: Value,
    /// Models of the double, by its ids; a `+free` at an end means that input costs nothing.
    pub(crate) models: Vec<&'static str>,
    /// Another provider's address and models; no book counts its calls.
    pub(crate) other: Option<(String, Vec<&'static str>)>,
    /// The gateways' budget of memory; `None` leaves it to the machine.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) redis: &'static [&'static str],
    /// Whether DynamoDB is asked through a front that can be told to refuse.
    pub(crate) fronted: bool,
    /// Whether the first gateway reaches the servers by ways of its own.
    pub(crate) victim: bool,
    /// Whether the gateways log each receipt, as functions do.
    pub(crate) logs_receipts: bool,
}

impl Setup {
    pub(crate) fn new(store: Kind, gateways: usize, models: &[&'static str]) -> Self {
        Self {
            store,
            gateways,
            limits: json!({}),
            models: models.to_vec(),
            other: None,
            memory_bytes: None,
            redis: &[],
            fronted: false,
            victim: false,
            logs_receipts: false,
        }
    }

    pub(crate) fn limited(self, limits: Value) -> Self {
        Self { limits, ..self }
    }

    pub(crate) fn fronted(self) -> Self {
        Self { fronted: true, ..self }
    }

    /// The first gateway's servers can fall silent towards it alone.
    pub(crate) fn with_a_victim(self) -> Self {
        Self { victim: true, ..self }
    }
}

/// What all scenarios share.
pub(crate) struct Rig {
    /// One for all: a Java machine takes seconds to start. Each stage has a table of its own.
    dynamodb: DynamoDbLocal,
    tables: AtomicU64,
}

impl Rig {
    /// Starts what is shared.
    pub(crate) async fn start() -> Result<Self> {
        let dynamodb = DynamoDbLocal::start().await?;
        warm(dynamodb.address()).await.context("DynamoDB Local")?;
        Ok(Self { dynamodb, tables: AtomicU64::new(0) })
    }
}

/// A set stage.
pub(crate) struct Stage {
    pub(crate) double: Double,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) redis: Option<Redis>,
    pub(crate) cluster: Option<RedisCluster>,
    pub(crate) store_link: Option<Link>,
    pub(crate) ledger_link: Option<Link>,
    pub(crate) ledger_front: Option<Front>,
    /// The ways of the first gateway alone.
    pub(crate) victim: Option<Victim>,
    pub(crate) table: Option<Table>,
    /// The models that its books count.
    models: Vec<&'static str>,
    /// The tenants that its books count; the last of them asks, with this key.
    tenants: Vec<String>,
    pub(crate) key: String,
    /// What all of its keys in the store have in them, and what says in which slot of a cluster they are.
    pub(crate) tag: String,
    variables: Vec<(String, String)>,
    logs_receipts: bool,
    folder: Folder,
}

/// The ways of a gateway that is to be killed.
pub(crate) struct Victim {
    pub(crate) store: Link,
    pub(crate) ledger: Front,
}

impl Victim {
    fn variables(&self) -> [(String, String); 2] {
        let store = format!("redis://{}", self.store.address());
        [("GATEWAY_STORE".to_owned(), store), ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), self.ledger.url())]
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if std::env::var_os("FAULTS_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl Stage {
    pub(crate) async fn set(rig: &Rig, setup: &Setup) -> Result<Self> {
        let number = rig.tables.fetch_add(1, Ordering::Relaxed);
        let folder = Folder(std::env::temp_dir().join(format!("gateway-faults-{}-{number}", std::process::id())));
        std::fs::create_dir_all(&folder.0)?;
        let double = Double::start().await;
        let config = folder.0.join("gateway.toml");
        std::fs::write(&config, configuration(&double.base_url(), setup))?;
        let mut stage = Self {
            double,
            gateways: Vec::new(),
            redis: None,
            cluster: None,
            store_link: None,
            ledger_link: None,
            ledger_front: None,
            victim: None,
            table: None,
            models: setup.models.clone(),
            tenants: Vec::new(),
            key: String::new(),
            tag: String::new(),
            variables: Vec::new(),
            logs_receipts: setup.logs_receipts,
            folder,
        };
        stage.variable("GATEWAY_CONFIG", config.display().to_string());
        if setup.logs_receipts {
            stage.variable("GATEWAY_LOG", "warn,receipt=info".to_owned());
        }
        stage.start_store(setup).await?;
        stage.make_directory(rig, setup, number).await?;
        if let Some(redis) = stage.redis.as_ref().filter(|_| setup.victim) {
            let store = Link::start(([127, 0, 0, 1], redis.port()).into()).await?;
            stage.victim = Some(Victim { store, ledger: Front::start(rig.dynamodb.address()).await? });
        }
        // The first one makes what all share.
        for place in 0..setup.gateways.max(1) {
            let gateway = stage.gateway(place).await?;
            stage.gateways.push(gateway);
        }
        stage.enter("acme", &setup.limits).await?;
        Ok(stage)
    }

    fn variable(&mut self, name: &str, value: String) {
        self.variables.push((name.to_owned(), value));
    }

    async fn start_store(&mut self, setup: &Setup) -> Result<()> {
        match setup.store {
            Kind::Memory => self.variable("GATEWAY_STORE", "memory".to_owned()),
            Kind::Redis => {
                let server = Redis::start(setup.redis).await?;
                let link = Link::start(([127, 0, 0, 1], server.port()).into()).await?;
                self.variable("GATEWAY_STORE", format!("redis://{}", link.address()));
                (self.redis, self.store_link) = (Some(server), Some(link));
            }
            Kind::Cluster => {
                let servers = RedisCluster::start(3, 1).await?;
                self.variable("GATEWAY_STORE", servers.url());
                self.cluster = Some(servers);
            }
        }
        Ok(())
    }

    /// A folder where the store is memory, else a table.
    async fn make_directory(&mut self, rig: &Rig, setup: &Setup, number: u64) -> Result<()> {
        if setup.store == Kind::Memory {
            let folder = self.folder.0.join("data");
            self.variable("GATEWAY_DIRECTORY", format!("file:{}", folder.display()));
            return Ok(());
        }
        let mut dynamodb = rig.dynamodb.address();
        let made = Table::create(dynamodb, &format!("faults-{number}")).await?;
        if setup.fronted {
            let front = Front::start(dynamodb).await?;
            dynamodb = front.address();
            self.ledger_front = Some(front);
        }
        let link = Link::start(dynamodb).await?;
        self.variable("GATEWAY_DIRECTORY", format!("dynamodb:{}", made.name));
        self.variable("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", link.address()));
        self.variable("AWS_REGION", "us-east-1".to_owned());
        self.variable("AWS_ACCESS_KEY_ID", "emulator".to_owned());
        self.variable("AWS_SECRET_ACCESS_KEY", "emulator".to_owned());
        (self.table, self.ledger_link) = (Some(made), Some(link));
        Ok(())
    }

    /// Starts a gateway of this stage, where the one of this place was if there was one; its log is in a file named after
    /// its place.
    pub(crate) async fn gateway(&self, place: usize) -> Result<Gateway> {
        let address = self.gateways.get(place).map_or(([127, 0, 0, 1], 0).into(), |before| before.address);
        let own = self.victim.iter().filter(|_| place == 0).flat_map(Victim::variables);
        let variables: Vec<_> = self.variables.iter().cloned().chain(own).collect();
        Gateway::start(&self.folder.0, address, &variables, &format!("gateway-{place}.log")).await
    }

    /// Makes a tenant, which asks from now on, and has each process learn of it by a request that counts nothing: what is
    /// to be seen is not how fast an emulator tells twenty processes of a tenant.
    pub(crate) async fn enter(&mut self, tenant: &str, limits: &Value) -> Result<()> {
        let (uid, key) = self.make(tenant, limits).await?;
        (self.tag, self.key) = (format!("{{{uid}}}"), key);
        self.tenants.push(tenant.to_owned());
        for gateway in &self.gateways {
            self.greet(gateway).await?;
        }
        Ok(())
    }

    /// Makes a tenant that no book counts; answers its uid and a key.
    pub(crate) async fn make(&self, tenant: &str, limits: &Value) -> Result<(String, String)> {
        let text = |of: &Value, name: &str| of[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        let body = json!({"id": tenant, "name": tenant, "limits": limits}).to_string();
        let made = self.gateways[0].admin("POST /admin/tenants", &body).await?.json(201).context("the tenant")?;
        let keys = format!("POST /admin/tenants/{tenant}/keys");
        let key = self.gateways[0].admin(&keys, r#"{"name":"faults"}"#).await?.json(201)?;
        Ok((text(&made, "uid")?, text(&key, "key")?))
    }

    /// Asks a gateway what counts nothing: by then it has connected to its servers, and read the tenant and its key.
    pub(crate) async fn greet(&self, gateway: &Gateway) -> Result<()> {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": "Are you there?"}]}).to_string();
        let request = String::from_utf8(request("POST /v1/chat/completions", &self.key, &body))?;
        let only_if_cached = request.replace("x-gateway-cache: no-store", "x-gateway-cache: only-if-cached");
        // It is not cached, and is told so; or that it would cost more than the tenant has.
        let answer = send(gateway.address, only_if_cached.as_bytes()).await?;
        ensure!([504, 429].contains(&answer.status), "a first request: {} {}", answer.status, answer.body);
        Ok(())
    }

    pub(crate) fn redis(&mut self) -> Result<&mut Redis> {
        self.redis.as_mut().context("no Redis in this scenario")
    }

    /// The holds that stand in the tenant's hash, by their fields.
    pub(crate) async fn holds(&self) -> Result<BTreeSet<String>> {
        let redis = self.redis.as_ref().context("no Redis in this scenario")?;
        let fields = redis.ask(&["HKEYS", &format!("gw:3:{}", self.tag)]).await?;
        Ok(fields.lines().filter(|field| field.starts_with("hold:")).map(str::to_owned).collect())
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(|gateway| gateway.address).collect()
    }

    /// The bytes of the chat request in a place of a load.
    pub(crate) fn chat(&self, load: &Load, place: usize) -> Vec<u8> {
        request("POST /v1/chat/completions", &self.key, &load.body(place))
    }

    /// Sends the load and breaks something meanwhile.
    pub(crate) async fn play(&mut self, load: &Load, fault: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<Seen> {
        let (to, key) = (self.addresses(), self.key.clone());
        let (seen, broken) = tokio::join!(send_all(&to, &key, load), fault(self));
        broken.map(|()| seen)
    }

    /// What gateway and provider have in their books now.
    pub(crate) async fn books(&self) -> Result<Books> {
        let Some(gateway) = self.gateways.last() else { bail!("no gateway") };
        let mut books = Books { is_live: true, provider: provider(&self.double, &self.models), ..Books::default() };
        for tenant in &self.tenants {
            let usage = gateway.admin(&format!("GET /admin/tenants/{tenant}/usage"), "").await?;
            books.is_live &= usage.header("x-gateway-degraded").is_none();
            let usage = usage.json(200)?;
            books.used = books.used.plus(Counted::of_json(&usage, "used")?);
            books.held = books.held.plus(Counted::of_json(&usage, "held")?);
        }
        let mut ledger = Vec::new();
        let rows = gateway.admin("GET /admin/usage?group_by=tenant", "").await?.json(200)?;
        let rows = rows["data"].as_array().into_iter().flatten();
        for row in rows.filter(|row| self.tenants.iter().any(|tenant| row["tenant"] == **tenant)) {
            ledger.push(Billed::of_json(row["requests"].as_u64().unwrap_or_default(), row, &row["cost_usd"])?);
        }
        books.ledger = ledger.into_iter().sum();
        if let Some(table) = &self.table {
            books.receipts = Some(table.receipts().await?.iter().map(Entry::parse).collect::<Result<_>>()?);
        }
        Ok(books)
    }

    /// Waits until nothing is held and the books agree, `by` then at the latest. Each process is asked something now and
    /// then, for what it owes to the servers goes with its next request, and expired holds are seen by the next one too.
    pub(crate) async fn settled(&self, load: &Load, by: Duration, are_right: impl Fn(&Books) -> bool) -> Result<Books> {
        let begun = Instant::now();
        let load = Load { requests: u32::try_from(self.gateways.len())?, every: Duration::ZERO, ..load.clone() };
        let mut asked = Instant::now();
        loop {
            let books = self.books().await;
            if let Ok(books) = &books
                && books.is_live
                && books.held == Counted::default()
                && are_right(books)
            {
                return Ok(books.clone());
            }
            if begun.elapsed() > by {
                return books;
            }
            if asked.elapsed() > Duration::from_secs(2) {
                send_all(&self.addresses(), &self.key, &load).await;
                asked = Instant::now();
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The gateways' logs.
    fn logs(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.folder.0).into_iter().flatten().flatten().map(|file| file.path());
        files.filter(|file| file.extension().is_some_and(|end| end == "log")).collect()
    }

    /// All that the gateways logged.
    pub(crate) fn log(&self) -> String {
        self.logs().iter().filter_map(|log| std::fs::read_to_string(log).ok()).collect()
    }

    /// Writes the receipts that the ledger did not take when it should have, or all that are logged, as an operator would: by
    /// `ai-gateway replay` of each log. Answers how many there were.
    pub(crate) async fn replay(&self) -> Result<usize> {
        let mut receipts = 0;
        for log in self.logs() {
            let mark = if self.logs_receipts { " receipt: receipt=" } else { "writes this receipt later" };
            let missing = std::fs::read_to_string(&log)?.matches(mark).count();
            if missing > 0 && self.ledger_link.is_some() {
                receipts += missing;
                crate::gateway::run(&self.folder.0, &self.variables, &["replay", &log.display().to_string()]).await?;
            }
        }
        Ok(receipts)
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        if begun.elapsed() > SOON {
            bail!("it does not come about that {what}");
        }
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
