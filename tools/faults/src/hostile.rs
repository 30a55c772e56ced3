//! Callers that mean harm: a thousand connections at once, from twenty keys, each of which sends one after another what
//! once stopped the process or filled its memory, while another tenant asks as before (T5, B2).

use crate::Scenario;
use crate::load::{Load, Seen, send_all};
use crate::stage::{Kind, Rig, Setup, Stage};
use crate::verdict::{Allowed, Played};
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use upstream_double::Double;

const CONNECTIONS: usize = 1_000;
const KEYS: usize = 20;
const BUDGET_BYTES: u64 = 96 << 20;
/// What the process may take beside its budget.
const BESIDE_BYTES: u64 = 100_000_000;
/// How many times slower than before the victims' slowest hundredth may be.
const TIMES_SLOWER: f64 = 5.0;
const PER_SECOND: u32 = 40;
const QUIET_SECONDS: u32 = 15;
const ATTACK_SECONDS: u32 = 30;
/// What callers are told: some of it is well formed, some is not, or has no key, or is too often, or too much.
const TOLD: [&str; 6] = ["200", "400", "401", "429", "431", "503"];
/// What a caller rests between two harms.
const REST: Duration = Duration::from_secs(1);
/// How long it waits for an end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two bytes of who sends them one by one.
const DRIP: Duration = Duration::from_millis(100);
/// What the victims ask for; what the callers do is in no book, for it is cut off wherever that hurts most.
const MODEL: &str = "slow-20";
const HARMED: [&str; 4] = ["json@harmed", "ok@harmed", "giant-12@harmed", "endless+empty@harmed"];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "1,000 hostile connections at once, from 20 keys, one process without servers",
        expected: "others are answered, p99 within five times of before; memory within the budget and 100 MB",
        is_long: true,
        play: |rig| Box::pin(attacked(rig)),
    }]
}

async fn attacked(rig: &Rig) -> Result<Played> {
    let other = Some((other_provider().await?, HARMED.to_vec()));
    let setup = Setup { other, memory_bytes: Some(BUDGET_BYTES), ..Setup::new(Kind::Memory, 1, &[MODEL]) };
    let stage = Stage::set(rig, &setup).await?;
    let mut keys = Vec::new();
    for number in 0..KEYS {
        // The first of them are over their rate after one request.
        let limits = if number < 2 { json!({"requests_per_minute": 1}) } else { json!({}) };
        keys.push(stage.make(&format!("hostile-{number}"), &limits).await?.1);
    }
    let (to, key) = (stage.addresses(), stage.key.clone());
    let load = |seconds: u32| Load {
        model: MODEL.to_owned(),
        requests: PER_SECOND * seconds,
        every: Duration::from_secs(1) / PER_SECOND,
        stream: false,
        max_tokens: 30,
        bounds: 7,
    };
    let quiet = apart(Side::Victims, victims(to.clone(), key.clone(), load(QUIET_SECONDS)))?.await?;
    let attack = load(ATTACK_SECONDS);
    let until = Instant::now() + Duration::from_secs(ATTACK_SECONDS.into());
    let callers = apart(Side::Callers, harm(to[0], Arc::new(keys), until))?;
    let seen = apart(Side::Victims, victims(to, key, attack.clone()))?.await?;
    let answers = callers.await?;
    let peak_bytes = stage.gateways[0].peak_bytes()?;

    let allowed = Allowed { served: u64::from(attack.requests), ..Allowed::nothing(u64::MAX / 2) };
    let (before_ms, p99_ms) = (quiet.percentile_ms(99), seen.percentile_ms(99));
    let slower = p99_ms / before_ms;
    let most_bytes = BUDGET_BYTES + BESIDE_BYTES;
    let mut played = Played::new(stage, attack, seen, allowed);
    let mut must = |so: bool, what: String| played.problems.extend((!so).then_some(what));
    must(quiet.served == quiet.requests, format!("only {} served before", quiet.served));
    must(slower <= TIMES_SLOWER, format!("p99 {before_ms:.1} ms before, {p99_ms:.1} ms then"));
    must(peak_bytes <= most_bytes, format!("{peak_bytes} bytes of memory, of {most_bytes}"));
    let missing = TOLD.iter().filter(|status| !answers.contains_key(**status)).count();
    must(missing == 0, format!("not all that was meant to do harm has come: {answers:?}"));
    let statuses: Vec<String> = answers.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    played.notes.push(format!(
        "p99 {before_ms:.1} ms before; {} MB of {}; the callers were told {}",
        peak_bytes / 1_000_000,
        most_bytes / 1_000_000,
        statuses.join(", ")
    ));
    Ok(played)
}

async fn victims(to: Vec<SocketAddr>, key: String, load: Load) -> Seen {
    send_all(&to, &key, &load).await
}

/// Starts the double that the callers misuse, apart from that of the victims; it serves as long as this program runs.
async fn other_provider() -> Result<String> {
    let (ready, url) = oneshot::channel();
    drop(apart(Side::Callers, async move {
        let double = Double::start().await;
        let _ = ready.send(double.base_url());
        std::future::pending::<()>().await;
    })?);
    Ok(url.await?)
}

/// Who has the processor first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Victims,
    /// Those who mean harm have what is left: they would have machines of their own, and take nothing of the gateway's.
    Callers,
}

/// Runs a side's work on a thread of its own, so that its clients do not wait for those of the other.
fn apart<T: Send + 'static>(
    side: Side,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<impl Future<Output = Result<T>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, finished) = oneshot::channel();
    std::thread::spawn(move || {
        if side == Side::Callers {
            give_way()?;
        }
        let _ = done.send(runtime.block_on(work));
        anyhow::Ok(())
    });
    Ok(async { finished.await.map_err(|_| anyhow!("a thread could not do its work")) })
}

/// Lowers the priority of this thread.
fn give_way() -> Result<()> {
    let own = std::fs::read_link("/proc/thread-self")?;
    let id = own.file_name().context("a thread's id")?;
    ensure!(Command::new("renice").args(["-n", "19", "-p"]).arg(id).output()?.status.success(), "renice failed");
    Ok(())
}

/// What a caller does when it has sent what it has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Reads until the gateway ends the connection.
    Read,
    /// Reads nothing.
    Rest,
    /// Reads, and sends on, byte by byte.
    Drip,
}

/// One way to do harm.
struct Harm {
    /// `{key}` stands for the caller's key.
    head: String,
    body: Vec<u8>,
    then: Then,
}

/// All that has stopped or filled the gateway once.
fn harms() -> Vec<Harm> {
    let post = |extra: &str, length: usize| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {{key}}\r\n\
             content-type: application/json\r\nconnection: close\r\n{extra}content-length: {length}\r\n\r\n"
        )
    };
    let [_, ok, giant, endless] = HARMED;
    let ask = |model: &str, more: &str| {
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"What is an interface?"}}]{more}}}"#)
    };
    let many = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(",");
    let bomb = r##","response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}}}"##;
    let tool = |number: usize| format!(r#"{{"type":"function","function":{{"name":"f{number}"}}}}"#);
    let long = ask(ok, &format!(r#","user":"{}""#, "x".repeat(9 << 20)));
    let whole = [
        ask("auto", bomb),
        ask(ok, &format!(",{}", many(120_000, &|number| format!(r#""f{number}":1"#)))),
        format!(
            r#"{{"model":"{ok}","messages":[{}]}}"#,
            many(200_000, &|_| r#"{"role":"user","content":"Hi"}"#.to_owned())
        ),
        ask(ok, &format!(r#","tools":[{}]"#, many(100_000, &tool))),
        ask(ok, &format!(r#","models":[{}]"#, many(500_000, &|number| format!(r#""m{number}""#)))),
        ask(ok, &format!(r#","n":128,"stream":true,"max_tokens":{}"#, 1 << 20)),
        ask(ok, &format!(r#","metadata":{}"#, "[".repeat(5 << 20))),
        ask(giant, ""),
        ask(endless, r#","stream":true"#),
        long.clone(),
    ];
    let mut harms: Vec<Harm> = whole
        .into_iter()
        .map(|body| Harm { head: post("", body.len()), body: body.into_bytes(), then: Then::Read })
        .collect();
    let unread = ask(giant, r#","stream":true"#);
    let same = ask(ok, "");
    harms.extend([
        Harm { head: post("", long.len()).replace("{key}", "gw_nobody"), body: long.clone().into(), then: Then::Read },
        Harm { head: post("idempotency-key: the-same\r\n", same.len()), body: same.into(), then: Then::Read },
        Harm { head: post("", unread.len()), body: unread.into(), then: Then::Rest },
        Harm { head: post("", long.len()), body: b"{".to_vec(), then: Then::Drip },
        Harm { head: post(&format!("x-long: {}\r\n", "x".repeat(300_000)), 2), body: b"{}".to_vec(), then: Then::Read },
        Harm {
            head: "POST /v1/chat/completions HTTP/1.1\r\nhost: gate".to_owned(),
            body: Vec::new(),
            then: Then::Read,
        },
        Harm { head: String::new(), body: Vec::new(), then: Then::Read },
    ]);
    harms
}

/// Has all connections do harm until then; answers how often they were told which status, or why they were told none.
async fn harm(to: SocketAddr, keys: Arc<Vec<String>>, until: Instant) -> BTreeMap<String, u64> {
    let harms = Arc::new(harms());
    let mut callers = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (keys, harms) = (keys.clone(), harms.clone());
        callers.spawn(async move {
            let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
            for round in 0.. {
                let harm = &harms[(number + round) % harms.len()];
                let status = match timeout(PATIENCE, do_harm(to, &keys[number % keys.len()], harm)).await {
                    Ok(Ok(status)) => status,
                    Ok(Err(_)) => "closed".to_owned(),
                    Err(_) => "nothing".to_owned(),
                };
                *statuses.entry(status).or_default() += 1;
                if timeout_at(until, sleep(REST)).await.is_err() {
                    break;
                }
            }
            statuses
        });
    }
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(Ok(statuses)) = callers.join_next().await {
        statuses.into_iter().for_each(|(status, count)| *all.entry(status).or_default() += count);
    }
    all
}

/// Does it once, until the gateway has answered or ended the connection; answers the status.
async fn do_harm(to: SocketAddr, key: &str, harm: &Harm) -> Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    let (mut reading, mut writing) = stream.split();
    let sending = async {
        writing.write_all(harm.head.replace("{key}", key).as_bytes()).await?;
        writing.write_all(&harm.body).await?;
        if harm.then == Then::Drip {
            loop {
                sleep(DRIP).await;
                writing.write_all(b" ").await?;
            }
        }
        anyhow::Ok(())
    };
    let answer = async {
        let (mut head, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        if harm.then == Then::Rest {
            return std::future::pending().await;
        }
        loop {
            match reading.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) if head.is_empty() => head.extend_from_slice(&buffer[..read]),
                Ok(_) => {}
            }
        }
        let line = String::from_utf8_lossy(&head).into_owned();
        line.split(' ').nth(1).map(str::to_owned).context("no answer")
    };
    // Whoever is refused while it sends is told why.
    tokio::join!(sending, answer).1
}
