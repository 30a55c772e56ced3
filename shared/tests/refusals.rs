//! What becomes of a request that a provider refuses, in the words and forms of real ones: who is called next, what the
//! caller reads, and what it shows of the model (A2, A3).

use crate::attempts::attempts;
use crate::rig::{OUR_KEY, Rig, ask, cheap, name_of, scene, streamed};
use gateway_core::money::Amounts;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use upstream_double::LEAK;

/// The double's model that refuses before its first word, in Anthropic's format.
const REFUSES: &str = "empty+content-filter-finish";

#[tokio::test]
async fn a_refusal_at_no_cost_goes_to_the_next_candidate_where_the_tenant_wants_it() {
    let message = format!("claude/{REFUSES}");
    for (first, model) in [(name_of("content-filter"), "content-filter"), (message.clone(), REFUSES)] {
        for (stream, wanted) in [(false, true), (true, true), (false, false), (true, false)] {
            let at = format!("{first}, stream: {stream}, wanted: {wanted}");
            let scene = scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]).model("content-filter", "");
            let rig = scene.claude(REFUSES).tenant(json!({"failover_on_refusal": wanted})).build().await;
            let got = rig.chat(one_of(&[&first, "up/ok"], stream)).await;
            let receipt = rig.receipt(&got).await;
            let status = if model == REFUSES { 200 } else { 400 };
            let mut calls = vec![format!("{first} first refused {status}")];
            if wanted {
                assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{at}");
                calls.push("up/ok failover ok 200".to_owned());
                assert!(receipt["reasons"].to_string().contains("refused at no cost"), "{at}: {receipt}");
            } else if model == REFUSES {
                assert_eq!((got.status, got.text().as_str()), (200, ""), "{at}: the refusal is the answer");
            } else {
                assert_eq!((got.status, got.error_code().as_str()), (400, "content_policy_violation"), "{at}");
            }
            assert_eq!(attempts(&receipt), calls, "{at}");
            assert_eq!(receipt["attempts"][0]["cost_usd"].as_str(), Some("0.000000000"), "{at}: {receipt}");
            assert_eq!((rig.calls(model), rig.calls("ok")), (1, wanted.into()), "{at}");
            assert_eq!(rig.counted().await, Amounts { requests: 1, ..rig.billed() }, "{at}");
        }
    }
}

#[tokio::test]
async fn where_all_refuse_the_first_refusal_is_the_answer_and_what_costs_goes_to_nobody_else() {
    let wants = json!({"failover_on_refusal": true});
    for stream in [false, true] {
        let scene = scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]).claude(REFUSES);
        let scene = scene.model("content-filter", "").model("status-500", "").table("[retry]\nmax_per_candidate = 0");
        let rig = scene.model(REFUSES, "").tenant(wants.clone()).build().await;
        let message = format!("claude/{REFUSES}");
        for others in [["up/content-filter"], ["up/status-500"]] {
            let got = rig.fresh(one_of(&[&message, others[0]], stream)).await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, &*message), "{others:?}: {got:?}");
        }
        let got = rig.fresh(one_of(&["up/content-filter", "up/content-filter"], stream)).await;
        assert_eq!((got.status, got.error_code().as_str()), (400, "content_policy_violation"));
        // OpenAI's filter bills the prompt.
        let got = rig.fresh(one_of(&[&name_of(REFUSES), "up/ok"], stream)).await;
        assert_eq!((got.status, rig.calls("ok")), (200, 0), "{got:?}");
        assert_eq!(attempts(&rig.receipt(&got).await), [format!("{} first refused 200", name_of(REFUSES))]);
        assert_eq!(rig.counted().await, Amounts { requests: 4, ..rig.billed() });
    }
}

/// A provider that answers every call of a model with the same bytes.
struct Raw {
    address: String,
    /// The heads of the requests that came, each with its model.
    heads: Arc<Mutex<Vec<(String, String)>>>,
}

/// Models, each with the status line, headers and body of its answers.
type Answers = &'static [(&'static str, &'static str, &'static str)];

impl Raw {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        // It goes with the process.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                serve(connection.unwrap(), answers, &kept);
            }
        });
        Self { address, heads }
    }

    fn calls(&self, model: &str) -> usize {
        self.heads.lock().unwrap().iter().filter(|(called, _)| called == model).count()
    }
}

/// Answers one request and closes the connection.
fn serve(connection: TcpStream, answers: Answers, heads: &Mutex<Vec<(String, String)>>) {
    let mut reader = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {
        let line = head.lines().last().unwrap_or_default().to_ascii_lowercase();
        length = line.strip_prefix("content-length: ").map_or(length, |value| value.parse().unwrap());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let model = serde_json::from_slice::<Value>(&body).unwrap()["model"].as_str().unwrap().to_owned();
    let (_, head_of_answer, body) = answers.iter().find(|(name, ..)| *name == model).unwrap();
    heads.lock().unwrap().push((model, head));
    let length = body.len();
    let answer = format!("HTTP/1.1 {head_of_answer}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    reader.into_inner().write_all(answer.as_bytes()).unwrap();
}

/// A gateway with these models of a raw provider, and `up/ok` of the double; no failure is retried.
async fn with(raw: &Raw, answers: Answers, headers: &str) -> Rig {
    let provider = format!(
        "[providers.raw]\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\napi_keys = [\"env:UP_KEY\"]\n{headers}",
        raw.address
    );
    let scene = scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
    let scene = scene.table(&provider).table("[retry]\nmax_per_candidate = 0");
    let model = |name| {
        format!(
            "[models.\"raw/{name}\"]\nprovider = \"raw\"\nid = \"{name}\"\nusd_per_million = {{ input = 1, output = 1 }}\ncontext_tokens = 8192"
        )
    };
    answers.iter().fold(scene, |scene, (name, ..)| scene.table(&model(name))).build().await
}

fn one_of(models: &[&str], stream: bool) -> Value {
    let mut body = if stream { streamed("cheap") } else { ask("cheap") };
    body.as_object_mut().unwrap().remove("model");
    body["models"] = json!(models);
    body
}

async fn failure_weight(rig: &Rig, model: &str) -> f64 {
    rig.gateway.store.health().snapshot(&[model.into()], rig.clock_now()).await.unwrap()[0].measures.failure.weight
}

const TOO_LARGE: Answers = &[
    (
        "nginx",
        "413 Content Too Large\r\ncontent-type: text/html",
        "<html><title>413 Request Entity Too Large</title></html>",
    ),
    (
        "tokens",
        "413 Content Too Large",
        r#"{"error":{"message":"Request too large for model `m` in organization `org_01kgg5588eftc8k70aes4864eb` on tokens per minute (TPM): Limit 12000, Requested 14137, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#,
    ),
    ("bare", "413 Content Too Large", ""),
];

#[tokio::test]
async fn what_is_too_large_for_one_provider_goes_to_another_and_shows_nothing() {
    let raw = Raw::start(TOO_LARGE);
    let rig = with(&raw, TOO_LARGE, "").await;
    for (model, ..) in TOO_LARGE {
        let name = format!("raw/{model}");
        for stream in [false, true] {
            let got = rig.fresh(one_of(&[&name, "up/ok"], stream)).await;
            assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{model}: {got:?}");
            let expected = [format!("{name} first http_error 413"), "up/ok failover ok 200".to_owned()];
            assert_eq!(attempts(&rig.receipt(&got).await), expected);
        }
        // With no other the caller reads what is wrong with its request.
        let got = rig.fresh(ask(&name)).await;
        assert_eq!(got.status, 413, "{model}: {got:?}");
        assert!(!got.contains("org_01"), "{got:?}");
        assert!(failure_weight(&rig, &name).await == 0.0, "{model}");
        assert_eq!(raw.calls(model), 3, "it is not left alone");
    }
    let got = rig.fresh(ask("raw/tokens")).await;
    assert_eq!(got.error_code(), "rate_limit_exceeded");
    assert!(got.contains("in organization `***` on tokens per minute"), "{got:?}");
}

const BUSY: Answers = &[
    ("busy", "503 Service Unavailable\r\nretry-after: 30", ""),
    (
        "busy529",
        "529 Overloaded\r\nretry-after: 20",
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
    ),
    ("limited", "429 Too Many Requests", r#"[{"error":{"code":429,"message":"no","details":[{"retryDelay":"40s"}]}}]"#),
];

#[tokio::test]
async fn who_says_when_to_come_again_is_not_called_before_and_the_caller_hears_it() {
    for (model, seconds) in [("busy", 30), ("busy529", 20), ("limited", 40)] {
        let raw = Raw::start(BUSY);
        let rig = with(&raw, BUSY, "").await;
        let name = format!("raw/{model}");
        let mut calls = 0;
        for (advance_s, is_called, left_s) in
            [(0, true, seconds), (1, false, seconds - 1), (seconds - 2, false, 1), (1, true, seconds)]
        {
            rig.clock.advance(advance_s * 1000);
            let got = rig.fresh(ask(&name)).await;
            calls += usize::from(is_called);
            assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"), "{model}");
            assert_eq!(got.header("retry-after"), left_s.to_string(), "{model}: {advance_s} s later");
            assert_eq!(raw.calls(model), calls, "{model}: {advance_s} s later");
        }
        assert!(failure_weight(&rig, &name).await == 0.0, "{model}: it has not failed");
        // Others are called meanwhile.
        assert_eq!(rig.fresh(one_of(&[&name, "up/ok"], false)).await.header("x-gateway-model"), "up/ok");
        assert_eq!(raw.calls(model), calls);
    }
}

#[tokio::test]
async fn the_earliest_known_time_is_the_callers() {
    let raw = Raw::start(BUSY);
    let rig = with(&raw, BUSY, "").await;
    let got = rig.fresh(one_of(&["raw/busy", "raw/limited", "raw/busy529"], true)).await;
    assert_eq!((got.status, got.header("retry-after")), (502, "20"), "{got:?}");
}

const OTHERS: Answers = &[
    (
        "tool",
        "400 Bad Request",
        r#"{"error":{"message":"Failed to call a function.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"x"}}"#,
    ),
    (
        "window",
        "400 Bad Request",
        r#"{"object":"error","message":"The input (61709 tokens) is longer than the model's context length (40960 tokens).","type":"BadRequestError","code":400}"#,
    ),
    (
        "detail",
        "422 Unprocessable Content",
        r#"{"detail":[{"loc":["body","top_p"],"msg":"Input should be a valid number","type":"float"}]}"#,
    ),
];

#[tokio::test]
async fn a_models_own_failure_is_never_the_callers() {
    let raw = Raw::start(OTHERS);
    let rig = with(&raw, OTHERS, "").await;
    let got = rig.fresh(one_of(&["raw/tool", "up/ok"], false)).await;
    assert_eq!((got.status, got.header("x-gateway-model")), (200, "up/ok"), "{got:?}");
    assert!(failure_weight(&rig, "raw/tool").await > 0.0, "it has failed");
    let got = rig.fresh(ask("raw/tool")).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"));
    // That of the caller is.
    let got = rig.fresh(one_of(&["raw/detail", "up/ok"], false)).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (422, &json!("top_p")), "{got:?}");
    assert!(got.contains("Input should be a valid number"));
}

#[tokio::test]
async fn a_window_that_is_too_small_is_told_only_when_no_larger_one_is_left() {
    let raw = Raw::start(OTHERS);
    let rig = with(&raw, OTHERS, "").await;
    let got = rig.fresh(one_of(&["raw/window", "raw/tool", "up/ok"], false)).await;
    assert_eq!((got.status, got.header("x-gateway-model"), raw.calls("tool")), (200, "up/ok", 0), "{got:?}");
    let got = rig.fresh(one_of(&["raw/window", "raw/tool"], true)).await;
    assert_eq!((got.status, raw.calls("tool")), (400, 0), "{got:?}");
    assert!(got.contains("is longer than the model's context length"), "{got:?}");
    assert!(failure_weight(&rig, "raw/window").await == 0.0);
}

#[tokio::test]
async fn what_a_refusal_tells_of_us_is_masked_and_the_rest_is_not() {
    for body in [ask("up/status-400"), streamed("up/status-400")] {
        let rig = cheap(["ok"]).model("status-400", "").build().await;
        let got = rig.chat(body).await;
        assert_eq!((got.status, got.error_code().as_str()), (400, "invalid_request"));
        for secret in [LEAK, OUR_KEY, "10.4.2.17"] {
            assert!(!got.contains(secret), "{secret}: {got:?}");
        }
        assert!(got.contains("Bad Request: key *** of organization ***, node ***, in"), "{got:?}");
    }
}

#[tokio::test]
async fn a_provider_reads_who_calls_it() {
    for (headers, name) in [("", "ai-gateway/"), ("headers = { user-agent = \"acme\" }", "acme")] {
        let raw = Raw::start(BUSY);
        let rig = with(&raw, BUSY, headers).await;
        rig.fresh(ask("raw/busy")).await;
        let head = raw.heads.lock().unwrap()[0].1.clone();
        let agents: Vec<_> = head.lines().filter(|line| line.starts_with("user-agent:")).collect();
        assert!(agents.len() == 1 && agents[0].starts_with(&format!("user-agent: {name}")), "{head}");
    }
}

const HEAD: &str = "200 OK\r\ncontent-type: text/event-stream";

const IN_STREAMS: Answers = &[
    (
        "limited-first",
        HEAD,
        "data: {\"error\":{\"code\":\"429\",\"message\":\"token rate limit\",\"retry_after\":40}}\n\ndata: [DONE]\n\n",
    ),
    (
        "window-first",
        HEAD,
        "event: error\ndata: {\"error\":{\"code\":400,\"type\":\"exceed_context_size_error\",\"message\":\"no\"}}\n\n",
    ),
    (
        "filter-late",
        HEAD,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Half\"}}]}\n\ndata: {\"error\":{\"code\":\"content_filter\",\"message\":\"blocked for org-abcdef123456\"}}\n\ndata: [DONE]\n\n",
    ),
    (
        "busy-late",
        HEAD,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Half\"}}]}\n\ndata: {\"error\":{\"code\":503,\"message\":\"key sk-abcdefgh1234\",\"retry_after\":40}}\n\n",
    ),
];

#[tokio::test]
async fn an_error_within_a_stream_is_of_its_own_class() {
    let raw = Raw::start(IN_STREAMS);
    let rig = with(&raw, IN_STREAMS, "").await;
    // Before the first word another candidate answers; a rate cools its model down, a window does not.
    for (model, status, calls) in
        [("limited-first", "rate_limited 429", [1, 1]), ("window-first", "http_error 400", [1, 2])]
    {
        let name = format!("raw/{model}");
        for call in calls {
            let got = rig.fresh(one_of(&[&name, "up/ok"], true)).await;
            assert_eq!(
                (got.status, got.header("x-gateway-model"), got.is_done()),
                (200, "up/ok", true),
                "{model}: {got:?}"
            );
            assert_eq!(raw.calls(model), call, "{model}");
            if call == 1 && calls == [1, 2] {
                assert_eq!(attempts(&rig.receipt(&got).await)[0], format!("{name} first {status}"));
            }
        }
    }
    let got = rig.fresh(ask("raw/limited-first")).await;
    assert_eq!((got.status, got.header("retry-after"), raw.calls("limited-first")), (502, "40", 1), "{got:?}");
    // After it the stream ends with the error, which is the caller's or is not.
    for (model, code, outcome) in
        [("filter-late", "content_filter", "refused 200"), ("busy-late", "all_candidates_failed", "http_error 503")]
    {
        let got = rig.fresh(streamed(&format!("raw/{model}"))).await;
        assert_eq!((got.error_code().as_str(), got.is_done(), got.text().as_str()), (code, false, "Half"), "{got:?}");
        assert!(!got.contains("org-abc") && !got.contains("sk-abc"), "{got:?}");
        let receipt = rig.receipt(&got).await;
        assert_eq!(attempts(&receipt), [format!("raw/{model} first {outcome}")]);
        assert!(failure_weight(&rig, &format!("raw/{model}")).await == 0.0, "{model}");
    }
    assert_eq!(rig.fresh(ask("raw/busy-late")).await.header("retry-after"), "40");
}
