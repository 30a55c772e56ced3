//! Keys of a provider that are kept elsewhere: read when needed, replaced while the gateway runs, one after the other.

use crate::rig::{Got, Rig, Scene, ask, cheap};
use async_trait::async_trait;
use gateway_core::config::{Secret, SecretRef};
use gateway_core::provider::keys::{SecretSource, Unread};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is kept, by its reference, and which of it was read, in order.
#[derive(Default)]
struct Safe {
    kept: Mutex<HashMap<String, &'static str>>,
    read: Mutex<Vec<String>>,
}

impl Safe {
    fn with(pairs: &[(&str, &'static str)]) -> Arc<Self> {
        let kept = pairs.iter().map(|(name, secret)| ((*name).to_owned(), *secret)).collect();
        Arc::new(Self { kept: Mutex::new(kept), ..Self::default() })
    }

    fn keep(&self, name: &str, secret: &'static str) {
        self.kept.lock().unwrap().insert(name.to_owned(), secret);
    }

    fn reads(&self) -> Vec<String> {
        self.read.lock().unwrap().clone()
    }
}

#[async_trait]
impl SecretSource for Safe {
    async fn read(&self, reference: &SecretRef, _now_ms: u64) -> Result<Secret, Unread> {
        self.read.lock().unwrap().push(reference.to_string());
        let kept = self.kept.lock().unwrap().get(&reference.to_string()).copied();
        kept.and_then(Secret::new).ok_or_else(|| Unread("AccessDeniedException".into()))
    }
}

/// A provider that answers by the key that it is called with.
struct Door {
    base_url: String,
    /// What it says to a key that it does not take.
    answers: Arc<Mutex<HashMap<String, (u16, &'static str)>>>,
    called: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

const REFUSED: (u16, &str) = (401, r#"{"error":{"code":"invalid_api_key","message":"wrong"}}"#);
const SPENT: (u16, &str) =
    (429, r#"{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}"#);
const SPEND_LIMIT: (u16, &str) = (
    429,
    r#"{"type":"error","error":{"type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
);
const RATE: (u16, &str) = (429, r#"{"error":{"code":"rate_limit_exceeded","message":"slow down"}}"#);

impl Door {
    async fn start(answers: &[(&str, (u16, &'static str))]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let answers: HashMap<String, _> = answers.iter().map(|(key, answer)| ((*key).to_owned(), *answer)).collect();
        let (answers, called) = (Arc::new(Mutex::new(answers)), Arc::<Mutex<Vec<String>>>::default());
        let (known, noted, mut serving) = (answers.clone(), called.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.spawn(converse(client, known.clone(), noted.clone()));
            }
        });
        Self { base_url, answers, called, _serving: serving }
    }

    fn answer(&self, key: &str, answer: (u16, &'static str)) {
        self.answers.lock().unwrap().insert(key.to_owned(), answer);
    }

    /// The keys that it was called with since this was last asked.
    fn called(&self) -> Vec<String> {
        std::mem::take(&mut self.called.lock().unwrap())
    }

    fn scene(&self, keys: &str) -> Scene {
        cheap(["ok"]).table(&format!(
            "[providers.keyed]\nkind = 'openai'\nbase_url = '{}'\n{keys}\n[models.'keyed/m']\nprovider = 'keyed'\n\
             usd_per_million = {{ input = 1, output = 1 }}\n",
            self.base_url
        ))
    }
}

async fn converse(
    mut client: TcpStream,
    answers: Arc<Mutex<HashMap<String, (u16, &'static str)>>>,
    called: Arc<Mutex<Vec<String>>>,
) {
    const GOOD: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        let whole = text.split_once("\r\n\r\n").filter(|(head, body)| {
            let length =
                head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            body.len() >= length.unwrap_or(0)
        });
        if let Some((head, _)) = whole {
            let key = head
                .lines()
                .find_map(|line| line.strip_prefix("authorization: Bearer "))
                .unwrap_or_default()
                .to_owned();
            let (status, body) = answers.lock().unwrap().get(&key).copied().unwrap_or((200, GOOD));
            called.lock().unwrap().push(key);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            read.clear();
        }
        if client.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

async fn fresh(rig: &Rig) -> Got {
    rig.fresh(ask("keyed/m")).await
}

#[tokio::test]
async fn a_key_is_read_at_the_first_need_and_not_at_the_start() {
    let (door, safe) = (Door::start(&[]).await, Safe::with(&[("ssm:/gateway/key", "kept-key-1")]));
    let rig = door.scene("api_key = 'ssm:/gateway/key'").secrets(safe.clone()).build().await;
    assert_eq!(safe.reads(), Vec::<String>::new());
    assert_eq!(rig.chat(ask("up/ok")).await.status, 200);
    assert_eq!(safe.reads(), Vec::<String>::new(), "another provider needs none");
    for _ in 0..3 {
        assert_eq!(fresh(&rig).await.status, 200);
    }
    assert_eq!((safe.reads(), door.called()), (vec!["ssm:/gateway/key".to_owned()], vec!["kept-key-1".to_owned(); 3]));
}

#[tokio::test]
async fn a_key_that_was_replaced_is_found_after_a_refusal_within_the_same_request() {
    let (door, safe) = (Door::start(&[]).await, Safe::with(&[("secretsmanager:all#openai", "kept-key-1")]));
    let rig = door.scene("api_key = 'secretsmanager:all#openai'").secrets(safe.clone()).build().await;
    assert_eq!(fresh(&rig).await.status, 200);
    door.answer("kept-key-1", REFUSED);
    safe.keep("secretsmanager:all#openai", "kept-key-2");
    rig.clock.advance(60_000);
    let got = fresh(&rig).await;
    assert_eq!((got.status, got.header("x-gateway-attempts")), (200, "1"), "{got:?}");
    assert_eq!(door.called(), ["kept-key-1", "kept-key-1", "kept-key-2"]);
    assert_eq!((fresh(&rig).await.status, door.called(), safe.reads().len()), (200, vec!["kept-key-2".to_owned()], 2));
}

#[tokio::test]
async fn a_key_is_read_again_after_ten_minutes() {
    let (door, safe) = (Door::start(&[]).await, Safe::with(&[("ssm:/k", "kept-key-1")]));
    let rig = door.scene("api_key = 'ssm:/k'").secrets(safe.clone()).build().await;
    assert_eq!(fresh(&rig).await.status, 200);
    safe.keep("ssm:/k", "kept-key-2");
    rig.clock.advance(599_999);
    assert_eq!(fresh(&rig).await.status, 200);
    rig.clock.advance(1);
    assert_eq!(fresh(&rig).await.status, 200);
    assert_eq!(door.called(), ["kept-key-1", "kept-key-1", "kept-key-2"]);
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_an_error_of_its_provider_alone() {
    let (door, safe) = (Door::start(&[]).await, Safe::with(&[("ssm:/good", "kept-key-2")]));
    let rig = door.scene("api_key = 'ssm:/denied'").secrets(safe.clone()).build().await;
    let got = fresh(&rig).await;
    assert_eq!((got.status, got.error_code()), (502, "all_candidates_failed".into()), "{got:?}");
    let receipt = rig.receipt(&got).await;
    assert_eq!(receipt["attempts"][0]["cause"], "key_unread", "{receipt}");
    assert_eq!((door.called(), rig.totals().await.cost_nusd), (vec![], 0), "nothing was sent");
    let both = json!({"model": "keyed/m", "models": ["up/ok"], "messages": [{"role": "user", "content": "Hello"}]});
    let got = rig.fresh(both).await;
    assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"));
    assert_eq!(safe.reads().len(), 1, "not for every request");
    let rig = door.scene("api_keys = ['ssm:/denied', 'ssm:/good']").secrets(safe).build().await;
    for _ in 0..4 {
        assert_eq!(fresh(&rig).await.status, 200, "another key does");
    }
    assert_eq!(door.called(), ["kept-key-2"; 4]);
}

#[tokio::test]
async fn a_key_that_is_used_up_rests_and_the_next_is_used_at_once() {
    let keys = "api_keys = ['ssm:/a', 'ssm:/b']";
    for spent in [SPENT, SPEND_LIMIT, RATE, REFUSED] {
        let safe = Safe::with(&[("ssm:/a", "kept-key-a"), ("ssm:/b", "kept-key-b")]);
        let door = Door::start(&[("kept-key-a", spent)]).await;
        let rig = door.scene(keys).secrets(safe).build().await;
        for _ in 0..6 {
            let got = fresh(&rig).await;
            assert_eq!((got.status, got.header("x-gateway-attempts")), (200, "1"), "{spent:?} {got:?}");
        }
        let called = door.called();
        assert_eq!(called.iter().filter(|key| *key == "kept-key-a").count(), 1, "{spent:?}: {called:?}");
    }
    // What a rate is told is not told of a bill: with all keys used up the client is not told to come again.
    let safe = Safe::with(&[("ssm:/a", "kept-key-a"), ("ssm:/b", "kept-key-b")]);
    let door = Door::start(&[("kept-key-a", SPENT), ("kept-key-b", SPENT)]).await;
    let rig = door.scene(keys).secrets(safe).build().await;
    let got = fresh(&rig).await;
    assert_eq!((got.status, got.header("retry-after"), door.called().len()), (502, "", 2), "{got:?}");
    assert_eq!(rig.receipt(&got).await["attempts"][0]["cause"], "payment_required");
}

#[tokio::test]
async fn of_many_at_once_one_reads() {
    let (door, safe) = (Door::start(&[]).await, Safe::with(&[("ssm:/k", "kept-key-1")]));
    let rig = door.scene("api_key = 'ssm:/k'").secrets(safe.clone()).build().await;
    let all = futures_util::future::join_all((0..50).map(|_| fresh(&rig))).await;
    assert!(all.iter().all(|got| got.status == 200));
    assert_eq!((safe.reads().len(), door.called().len()), (1, 50));
}

#[tokio::test]
async fn no_caller_reads_a_key_that_was_read() {
    let leak = (400, r#"{"error":{"message":"bad: kept/key=1 is wrong, as was kept/key=1","code":"x"}}"#);
    let (door, safe) = (Door::start(&[("kept/key=1", leak)]).await, Safe::with(&[("ssm:/k", "kept/key=1")]));
    let rig = door.scene("api_key = 'ssm:/k'").secrets(safe).build().await;
    let got = fresh(&rig).await;
    assert_eq!(got.status, 400);
    assert!(!got.contains("kept/key=1") && got.contains("***"), "{got:?}");
}
