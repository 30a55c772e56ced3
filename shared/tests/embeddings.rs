//! The embedding model of a team, against a server that does what each test says.

use crate::rig::{Got, Rig, Scene, ask, cheap, scene, with_key};
use async_trait::async_trait;
use gateway_core::config::{Config, EmbedderSettings, OpenAiSpec, Secret};
use gateway_core::id::RequestId;
use gateway_core::money::Amounts;
use gateway_core::provider::ProviderError;
use gateway_core::provider::embeddings::RemoteEmbedder;
use gateway_core::request::incoming::Incoming;
use gateway_core::routing::text::embedder::{EmbedCall, Embedded, Embedder};
use gateway_core::tls::client_config;
use gateway_core::wire::openai::MaxTokensField;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server was sent: a head and a body.
type Sent = Arc<Mutex<Vec<(String, Value)>>>;
/// A status and a body, or no answer at all.
type Answer = Option<(u16, String)>;

/// A server that answers each request with what `answer` makes of its body.
struct Server {
    base_url: String,
    sent: Sent,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (sent, answer) = (Sent::default(), Arc::new(answer));
        let (noted, mut serving) = (sent.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.spawn(converse(client, noted.clone(), answer.clone()));
            }
        });
        Self { base_url, sent, _serving: serving }
    }

    /// Gives the intents' utterances their vectors, and requests what `answer` makes of them.
    async fn knowing_utterances(answer: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(move |body| if body["input"].as_array().unwrap().len() > 3 { good(body) } else { answer(body) })
            .await
    }

    /// What requests sent.
    fn sent(&self) -> Vec<(String, Value)> {
        let sent = self.sent.lock().unwrap();
        sent.iter().filter(|(_, body)| body["input"].as_array().unwrap().len() <= 3).cloned().collect()
    }

    fn calls(&self) -> usize {
        self.sent().len()
    }

    /// A gateway that asks it about two intents.
    fn scene(&self, timeout_ms: u64) -> Scene {
        cheap(["ok"]).table(&format!(
            "[providers.vec]\nkind = 'openai'\nbase_url = '{}'\napi_key = 'env:UP_KEY'\n\
             [models.'vec/small']\nprovider = 'vec'\nid = 'org/m'\nusd_per_million = {{ input = 0.02, output = 0 }}\n\
             [embedder]\nmodel = 'vec/small'\ndimensions = 2\nbatch_texts = 200\ntimeout_ms = {timeout_ms}\n",
            self.base_url
        ))
    }

    async fn rig(&self) -> Rig {
        self.scene(10_000).build().await
    }
}

async fn converse(mut client: TcpStream, sent: Sent, answer: Arc<impl Fn(&Value) -> Answer>) {
    while let Some((head, body)) = request(&mut client).await {
        sent.lock().unwrap().push((head, body.clone()));
        let Some((status, text)) = answer(&body) else { return std::future::pending().await };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", text.len());
        client.write_all(format!("{head}{text}").as_bytes()).await.unwrap();
    }
}

async fn request(client: &mut TcpStream) -> Option<(String, Value)> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase().split_once("content-length: ")?.1.lines().next()?.parse().ok()?;
            if body.len() >= length {
                return Some((head.to_owned(), serde_json::from_str(body).ok()?));
            }
        }
        if client.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

/// A vector for each text, the last text's first: greetings and interfaces lie one way, designs and zebras another.
fn good(body: &Value) -> Answer {
    let vector = |text: &Value| {
        let text = text.as_str().unwrap();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        match (has(&["design", "architect", "zebra"]), has(&["hello", "good ", "how are you", "interface"])) {
            (true, _) => [0, 3],
            (_, true) => [3, 0],
            _ => [-3, 0],
        }
    };
    let texts = body["input"].as_array().unwrap().iter().enumerate().rev();
    let data: Vec<Value> = texts.map(|(i, text)| json!({"index": i, "embedding": vector(text)})).collect();
    Some((200, json!({"object": "list", "data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}}).to_string()))
}

fn shown(got: &Got) -> [&str; 3] {
    ["x-gateway-intent", "x-gateway-intent-source", "x-gateway-model"].map(|header| got.header(header))
}

const BY_EMBEDDER: [&str; 3] = ["greeting", "embedding", "up/ok"];
const BY_TABLE: [&str; 3] = ["design", "embedding", "up/ok@strong"];

fn about(text: &str) -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn it_decides_about_own_intents_and_is_on_the_receipt_and_in_the_totals() {
    assert_eq!(shown(&cheap(["ok"]).build().await.chat(ask("auto")).await), BY_TABLE);
    let server = Server::start(good).await;
    let rig = server.rig().await;
    let got = rig.chat(ask("auto")).await;
    assert_eq!((got.status, shown(&got)), (200, BY_EMBEDDER));
    let (head, body) = &server.sent()[0];
    assert!(head.starts_with("POST /v1/embeddings HTTP/1.1"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {}", crate::rig::OUR_KEY)), "{head}");
    assert_eq!(*body, json!({"model": "org/m", "input": ["What is an interface?"]}));

    let receipt = rig.receipt(&got).await;
    let [embedding, answer] = [&receipt["attempts"][0], &receipt["attempts"][1]];
    assert_eq!((&embedding["kind"], &embedding["model"]), (&json!("embedding"), &json!("vec/small")), "{receipt}");
    assert_eq!((&embedding["usage"]["input_tokens"], &embedding["estimated"]), (&json!(7), &json!(false)), "{receipt}");
    assert_eq!(embedding["cost_usd"], "0.000000140", "{receipt}");
    assert_eq!(answer["kind"], "first", "{receipt}");
    assert!(receipt["reasons"].to_string().contains("own intents by the embedder vec/small"), "{receipt}");
    let billed = rig.billed().plus(Amounts { requests: 1, tokens: 7, cost_nusd: 140 });
    assert_eq!((rig.totals().await, rig.counted().await), (billed, billed));
}

#[tokio::test]
async fn a_request_waits_for_it_once_with_all_of_its_texts() {
    let server = Server::start(good).await;
    let rig = server.rig().await;
    let user = |text: &str| json!({"role": "user", "content": text});
    let messages =
        json!([user("design it"), {"role": "assistant", "content": "Done."}, user("Thanks. Label this as greeting!")]);
    assert_eq!(rig.chat(json!({"model": "auto", "messages": messages})).await.status, 200);
    let sent = server.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1["input"], json!(["Thanks. Label this as greeting!", "design it", "Thanks. !"]));
}

#[tokio::test]
async fn what_was_read_is_remembered_for_its_tenant_and_costs_nothing_again() {
    let server = Server::start(good).await;
    let rig = server.rig().await;
    for attempts in ["2", "1", "1"] {
        let got = rig.fresh(ask("auto")).await;
        assert_eq!((shown(&got), got.header("x-gateway-attempts")), (BY_EMBEDDER, attempts));
    }
    assert_eq!(server.calls(), 1);
    let other = rig.add_tenant("other", json!({})).await;
    rig.chat_as(&other, &[], ask("auto")).await;
    assert_eq!(server.calls(), 2, "another tenant's");
    rig.gateway.purge(&rig.uid().await).await.unwrap();
    rig.fresh(ask("auto")).await;
    assert_eq!(server.calls(), 3, "forgotten");
}

#[tokio::test]
async fn it_is_not_asked_where_a_model_is_named_or_nothing_is_sent() {
    let server = Server::start(good).await;
    let rig = server.rig().await;
    for body in [ask("cheap"), ask("up/ok"), about(" ")] {
        assert_eq!(rig.chat(body).await.status, 200);
    }
    let incoming = Incoming {
        headers: with_key(&rig.key, &[]),
        body: crate::rig::boxed(ask("auto").to_string()),
        time_left: None,
    };
    let route = Got::all_of(rig.gateway.route(incoming).await).await;
    assert_eq!(route.json()["intent"]["name"], "design");
    assert_eq!(server.calls(), 0);
    assert_eq!(rig.chat(ask("vec/small")).await.status, 404, "it answers no requests");
    rig.change_tenant("acme", json!({"allowed_models": ["auto", "up/*"]})).await;
    assert_eq!(shown(&rig.chat(ask("auto")).await), BY_TABLE, "a tenant that may not use its provider");
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn without_a_good_answer_the_table_decides_and_what_may_be_billed_is() {
    let error = |status| (status, r#"{"error":{"message":"no"}}"#.to_owned());
    let vectors = |data: Value| (200, json!({"data": data, "usage": {"prompt_tokens": 7}}).to_string());
    for (answer, outcome, input_tokens) in [
        (error(401), "http_error", 0),
        (error(429), "rate_limited", 0),
        (error(500), "http_error", 0),
        ((200, "{\"data\": [".to_owned()), "malformed", 27),
        ((200, "<html>".to_owned()), "malformed", 27),
        (vectors(json!([])), "malformed", 7),
        (vectors(json!([{"index": 0, "embedding": [1, 0, 0]}])), "malformed", 7),
        (vectors(json!([{"index": 0, "embedding": [null, 1]}])), "malformed", 7),
        (vectors(json!([{"index": 0, "embedding": [1, 0]}, {"index": 1, "embedding": [1, 0]}])), "malformed", 7),
        ((200, format!("{{\"data\": [], \"x\": \"{}\"}}", "x".repeat(1 << 20))), "malformed", 27),
    ] {
        let said = answer.clone();
        let server = Server::knowing_utterances(move |_| Some(said.clone())).await;
        let rig = server.rig().await;
        let got = rig.chat(ask("auto")).await;
        assert_eq!((got.status, shown(&got)), (200, BY_TABLE), "{answer:?}");
        let receipt = rig.receipt(&got).await;
        let attempt = &receipt["attempts"][0];
        assert_eq!((&attempt["kind"], &attempt["outcome"]), (&json!("embedding"), &json!(outcome)), "{receipt}");
        assert_eq!(attempt["usage"]["input_tokens"], input_tokens, "{receipt}");
        let why = "the embedder vec/small did not answer: the table in process decides";
        assert!(receipt["reasons"].to_string().contains(why), "{receipt}");
        let billed = rig.billed().plus(Amounts { requests: 1, tokens: input_tokens, cost_nusd: input_tokens * 20 });
        assert_eq!((rig.totals().await, rig.counted().await), (billed, billed), "{receipt}");
    }
}

#[tokio::test]
async fn one_that_is_silent_is_waited_for_as_long_as_configured_and_billed_by_an_estimate() {
    let server = Server::knowing_utterances(|_| None).await;
    let rig = server.scene(1).build().await;
    let got = rig.chat(ask("auto")).await;
    assert_eq!((got.status, shown(&got)), (200, BY_TABLE));
    let attempt = &rig.receipt(&got).await["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["estimated"]), (&json!("timeout"), &json!(true)), "{attempt}");
    assert_eq!(attempt["usage"]["input_tokens"], 27, "{attempt}");
}

/// Knows utterances, and answers no request.
struct Silent;

#[async_trait]
impl Embedder for Silent {
    fn dimensions(&self) -> usize {
        2
    }

    async fn embed(&self, call: EmbedCall<'_>) -> Result<Embedded, ProviderError> {
        if call.texts.len() <= 3 {
            return std::future::pending().await;
        }
        Ok(Embedded { vectors: vec![vec![1.0, 0.0]; call.texts.len()], usage: None })
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_waited_for_as_long_as_configured_and_no_longer() {
    let scene = scene().tier("cheap", &["sim/cheap"]).tier("reasoning", &["sim/reasoning"]).table(
        "[providers.vec]\nkind = 'openai'\nbase_url = 'http://h'\n\
         [models.'vec/small']\nprovider = 'vec'\nusd_per_million = { input = 0.02, output = 0 }\n\
         [embedder]\nmodel = 'vec/small'\ndimensions = 2\nbatch_texts = 1000\ntimeout_ms = 250\n",
    );
    let rig = scene.with(|builder| builder.embedder(Arc::new(Silent))).build().await;
    let got = rig.chat(ask("auto")).await;
    let attempt = &rig.receipt(&got).await["attempts"][0];
    assert_eq!((&attempt["kind"], &attempt["outcome"]), (&json!("embedding"), &json!("timeout")), "{attempt}");
    assert!((250.0..252.0).contains(&attempt["latency_ms"].as_f64().unwrap()), "{attempt}");
}

#[tokio::test]
async fn it_is_not_asked_where_the_deadline_comes_sooner() {
    let server = Server::start(good).await;
    let rig = server.scene(10_000).build().await;
    let time_left = Some(Duration::from_secs(9));
    let body = crate::rig::boxed(ask("auto").to_string());
    let got = Got::all_of(rig.gateway.chat(Incoming { headers: with_key(&rig.key, &[]), body, time_left }).await).await;
    assert_eq!((got.status, shown(&got)), (200, BY_TABLE));
    assert!(rig.receipt(&got).await["reasons"].to_string().contains("vec/small is not asked so late"));
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn one_that_fails_again_and_again_is_left_alone_until_a_probe_finds_it_well() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let server = Server::knowing_utterances(
        move |body| {
            if down.load(Relaxed) { Some((503, String::new())) } else { good(body) }
        },
    )
    .await;
    let rig = server.rig().await;
    let question = |n: usize| about(&format!("What is an interface, for the {n}th time?"));
    for n in 0..9 {
        assert_eq!(rig.chat(question(n)).await.status, 200);
    }
    assert_eq!(server.calls(), 5, "its breaker is open");
    let got = rig.chat(question(9)).await;
    assert!(rig.receipt(&got).await["reasons"].to_string().contains("vec/small failed lately and is left alone"));
    rig.clock.advance(6_000);
    for n in 10..13 {
        rig.chat(question(n)).await;
    }
    assert_eq!(server.calls(), 6, "one tries whether it is back");
    is_down.store(false, Relaxed);
    rig.clock.advance(12_000);
    assert_eq!(shown(&rig.chat(question(13)).await), BY_EMBEDDER);
    assert_eq!(shown(&rig.chat(question(14)).await), BY_EMBEDDER);
    assert_eq!(server.calls(), 8);
}

#[tokio::test]
async fn a_start_without_it_is_by_the_table_until_it_is_there() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let server =
        Server::start(move |body| if down.load(Relaxed) { Some((503, String::new())) } else { good(body) }).await;
    let rig = server.rig().await;
    is_down.store(false, Relaxed);
    let got = rig.fresh(ask("auto")).await;
    assert_eq!((got.status, shown(&got), got.header("x-gateway-attempts")), (200, BY_TABLE, "1"));
    assert!(rig.receipt(&got).await["reasons"].to_string().contains("has not embedded the intents' utterances yet"));
    rig.clock.advance(60_000);
    // Learning is begun by the first of these, which waits for it as little as the others.
    let mut tries = 0;
    while shown(&rig.fresh(ask("auto")).await) != BY_EMBEDDER {
        tries += 1;
        assert!(tries < 5_000, "it is never learnt");
    }
    assert!(tries > 0, "the first one waited");
}

#[tokio::test]
async fn the_utterances_go_in_batches_and_once() {
    let server = Server::start(good).await;
    let rig = server.rig().await;
    rig.chat(ask("auto")).await;
    let sent = server.sent.lock().unwrap();
    let sizes: Vec<usize> = sent.iter().map(|(_, body)| body["input"].as_array().unwrap().len()).collect();
    let (request, batches) = sizes.split_last().unwrap();
    assert_eq!(*request, 1);
    assert!(batches.len() > 1 && batches[..batches.len() - 1].iter().all(|size| *size == 200), "{sizes:?}");
    let inputs: Vec<&Value> = sent.iter().flat_map(|(_, body)| body["input"].as_array().unwrap()).collect();
    assert_eq!(inputs.iter().filter(|input| ***input == json!("hello there")).count(), 1);
}

#[tokio::test]
async fn a_server_that_takes_few_texts_at_once_and_one_of_them_not_at_all_is_learnt_from() {
    let server = Server::start(|body| {
        let texts = body["input"].as_array().unwrap();
        let is_refused = texts.len() > 10 || texts.iter().any(|text| text == "good evening");
        if is_refused { Some((400, r#"{"error":{"message":"batch size is invalid"}}"#.into())) } else { good(body) }
    })
    .await;
    let rig = server.rig().await;
    assert_eq!(shown(&rig.chat(ask("auto")).await), BY_EMBEDDER);
}

#[tokio::test]
async fn it_is_not_asked_where_the_quota_has_not_enough_left_for_it() {
    let server = Server::start(good).await;
    let rig = server.scene(10_000).limits(json!({"daily_tokens": 250})).build().await;
    let mut body = ask("auto");
    body["max_tokens"] = json!(10);
    let got = rig.chat(body).await;
    assert_eq!((got.status, shown(&got)), (200, BY_TABLE), "{got:?}");
    let reasons = rig.receipt(&got).await["reasons"].to_string();
    assert!(reasons.contains("the embedder is not asked: daily_tokens has not enough left for it"), "{reasons}");
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn a_tier_that_it_leads_to_is_held_for_or_not_used() {
    let server = Server::start(good).await;
    for (limit, model) in [("1", "up/ok@strong"), ("0.001", "up/ok")] {
        let rig = server.scene(10_000).limits(json!({"daily_cost_usd": limit})).build().await;
        let mut body = about("hello there, zebra");
        body["max_tokens"] = json!(200);
        let got = rig.chat(body).await;
        assert_eq!((got.status, got.header("x-gateway-model")), (200, model), "{got:?}");
        let reasons = rig.receipt(&got).await["reasons"].to_string();
        let is_put_back = reasons.contains("the quota has not enough left for the tier that the embedder led to");
        assert_eq!(is_put_back, model == "up/ok", "{reasons}");
        assert_eq!(rig.counted().await, rig.totals().await);
    }
}

/// The embedder of this server alone.
fn embedder(server: &Server) -> RemoteEmbedder {
    let table = "[providers.p]\nkind = 'openai'\nbase_url = 'http://h'\n[tiers]\ncheap = ['sim/cheap']\n\
        [models.e]\nprovider = 'p'\nid = 'org/m'\nusd_per_million = { input = 0, output = 0 }\n\
        [embedder]\nmodel = 'e'\ndimensions = 2\n";
    let settings: EmbedderSettings = Config::load(table, "t.toml", &|_| None).unwrap().embedder.unwrap();
    let (base_url, max_tokens_field) = (server.base_url.clone(), MaxTokensField::MaxTokens);
    let spec = OpenAiSpec { base_url, api_keys: Vec::new(), max_tokens_field, headers: Vec::new() };
    let keys = [Secret::new("sk-hunter2").unwrap().into()];
    RemoteEmbedder::new(&spec, &keys, client_config().unwrap(), settings).unwrap()
}

fn call<'a>(texts: &'a [&'a str]) -> EmbedCall<'a> {
    EmbedCall { texts, now_ms: crate::rig::NOW, id: RequestId::new(crate::rig::NOW) }
}

#[tokio::test]
async fn of_a_long_text_head_and_tail_are_sent_and_nothing_of_a_blank_one() {
    let server = Server::start(good).await;
    let embedder = embedder(&server);
    embedder.embed(call(&[&"x".repeat(100_000)])).await.unwrap();
    assert_eq!(server.sent()[0].1["input"][0].as_str().unwrap().len(), 1_401);
    assert_eq!(embedder.embed(call(&[" \n"])).await.unwrap().vectors, [[0.0, 0.0]]);
    assert_eq!(server.calls(), 1);
    let vectors = embedder.embed(call(&["", "design", " "])).await.unwrap().vectors;
    assert_eq!(vectors, [[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]);
}

#[tokio::test]
async fn an_error_tells_no_key() {
    let server = Server::start(|_| Some((401, r#"{"error":{"message":"bad key sk-hunter2"}}"#.into()))).await;
    let error = embedder(&server).embed(call(&["a"])).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
}
