//! Both planes in one process over plain HTTP: `cargo run --release`, development, containers.

mod admin;
mod catalog;
mod demo;
mod evaluate;
#[cfg(feature = "redis")]
mod inspect;
mod plane;
mod receipts;
mod replay;
mod routing;

use anyhow::Context;
use axum::Router;
use gateway_core::config::{Config, check};
use gateway_host::environment::variable;
use gateway_host::signals::Signals;
use gateway_host::wiring::{Place, Wired, wire};
use gateway_host::{http, logging};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

const USAGE: &str = "\
usage: ai-gateway                    serve both planes on GATEWAY_ADDR (127.0.0.1:8080)
       ai-gateway check FILE         say what is wrong with a configuration file, and which of its keys are not set here
       ai-gateway catalog check [FILE]
                                     say which models of the catalog, and of a configuration file, are past their dates
       ai-gateway admin …            what operators do, over the admin plane of a gateway that runs; alone it lists it
       ai-gateway replay FILE        write the receipts of a log into the ledger, each once; - is standard input
       ai-gateway routing replay [--quality Q]… [--json] [--tenant NAME] [--from DAY] [--to DAY]
                                     say what other settings of the dial would have cost, from the receipts that are kept
       ai-gateway intents fit [--tenant NAME] [--from DAY] [--to DAY]
                                     fit the intents' probabilities and the dial to the feedback on answers
       ai-gateway inspect NAME       say what the store has of a tenant (its id or uid) or a model
       ai-gateway intents eval FILE [--quality Q]
                                     say how labelled prompts would be routed; a line each: text or messages, intent or tier
       ai-gateway --help | --version";

const VARIABLES: &str = "\
environment (one that is empty counts as not set):
  GATEWAY_ADDR            address to listen on; 127.0.0.1:8080
  GATEWAY_CONFIG          path of gateway.toml; the compiled-in configuration
  GATEWAY_DIRECTORY       tenants, keys and receipts: file:FOLDER or dynamodb:TABLE; file:.gateway
  GATEWAY_STORE           counters, cache and health: memory, redis://, rediss://, redis-cluster://HOST:PORT,HOST:PORT or
                          rediss-cluster://; memory
  GATEWAY_STORE_CA        with TLS to the store: a PEM file with the authority to trust in place of the public ones
  GATEWAY_ADMIN_URL       for `ai-gateway admin`: the plane to ask, as https://HOST/STAGE/admin; that on GATEWAY_ADDR
  GATEWAY_ADMIN_TOKEN     the owner's token, at least 32 characters; made once and kept in the folder
  GATEWAY_HASH_SECRET     what API keys are hashed with, at least 32 characters; made once and kept in the folder
  GATEWAY_BEDROCK_ROLE    yes: without a key, calls of Bedrock are signed with the credentials that AWS's tools find
  GATEWAY_ALERTS_TOPIC    a topic of SNS that is told of alerts: its ARN
  GATEWAY_RESPONSE_MODE   under Lambda: buffered, auto or streamed; buffered
  GATEWAY_LOG             tracing filter, such as info or warn,receipt=info; warn
  OPENAI_API_KEY, GROQ_API_KEY, CEREBRAS_API_KEY, DEEPSEEK_API_KEY, MISTRAL_API_KEY, XAI_API_KEY, TOGETHER_API_KEY,
  FIREWORKS_API_KEY, OPENROUTER_API_KEY
                          the keys that the compiled-in configuration names; without any, answers are simulated
  AWS_BEARER_TOKEN_BEDROCK and AWS_REGION
                          the same for Amazon Bedrock
  AWS_…                   as for every program that uses AWS's SDK, where the directory is a table, and for Bedrock's signatures";

fn main() -> ExitCode {
    // On one core one thread does it all, as on Lambda; several would only hand work to each other.
    let mut runtime = match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    match runtime.enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(start());
            // A name that is being looked up, say, is not waited for.
            runtime.shutdown_background();
            logging::flush();
            code
        }
        Err(error) => {
            logging::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn start() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => run().await,
        ["check", file] => return check_file(file),
        ["catalog", "check"] => catalog::check(None),
        ["catalog", "check", file] => catalog::check(Some(file)),
        ["admin", ref words @ ..] => admin::run(words).await,
        ["replay", file] => replay::run(file).await,
        ["intents", "eval", file] => evaluate::run(file, None),
        ["intents", "eval", file, "--quality", quality] => match quality.parse() {
            Ok(quality) if (0.0..=1.0).contains(&quality) => evaluate::run(file, Some(quality)),
            _ => Err(anyhow::anyhow!("--quality: must be a number from 0 to 1, not {quality:?}")),
        },
        ["routing", "replay", ref options @ ..] => routing::replay(options).await,
        ["intents", "fit", ref options @ ..] => routing::fit(options).await,
        #[cfg(feature = "redis")]
        ["inspect", name] => inspect::run(name).await,
        #[cfg(not(feature = "redis"))]
        ["inspect", _] => Err(anyhow::anyhow!(
            "inspect: this program was built without the cargo feature `redis`; counters live inside the running gateway"
        )),
        ["--help" | "-h"] => {
            logging::say(&format!("{USAGE}\n\n{VARIABLES}"));
            Ok(())
        }
        ["--version" | "-V"] => {
            logging::say(concat!("ai-gateway ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn check_file(file: &str) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            logging::complain(&format!("{file}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let problems = check(&text, file);
    if problems.is_empty() {
        logging::say(&format!("{file}: no problems"));
        // A file is checked where its keys are not: what they would change is said, and is no fault of the file.
        let here = match Config::load(&text, file, &variable) {
            Ok(config) => config.notices,
            Err(error) => error.problems,
        };
        here.iter().for_each(|note| logging::say(&format!("in this environment: {note}")));
        return ExitCode::SUCCESS;
    }
    problems.iter().for_each(|problem| logging::complain(&problem.to_string()));
    ExitCode::FAILURE
}

async fn run() -> anyhow::Result<()> {
    logging::start("warn")?;
    let mut signals = Signals::listen()?;
    // The address first: whoever starts a second gateway by mistake should read of that, not of a locked file.
    let listener = http::listen(&http::address()).await?;
    let (wired, router, demo_key) = tokio::select! {
        started = wired() => started?,
        () = signals.end() => return Ok(()),
    };
    // A closed stdout must not stop the server.
    let _ = std::io::stdout().write_all(greeting(&wired, listener.local_addr()?, demo_key.as_deref()).as_bytes());
    http::serve(listener, router, wired.gateway, &mut signals).await
}

/// Both planes of a gateway that is put together from the environment, and the key of its demo tenant.
async fn wired() -> anyhow::Result<(Wired, Router, Option<String>)> {
    let wired = wire().await?;
    // With a table, tenants are made through the admin plane.
    let demo_key = match &wired.place {
        Place::Folder(_) => demo::tenant(&wired.gateway).await.context("the demo tenant")?,
        Place::Table(_) => None,
    };
    let token = wired.owner_token.as_deref();
    let token = token.context("GATEWAY_ADMIN_TOKEN: must be set where GATEWAY_DIRECTORY is a table")?;
    let owner = admin_function::OwnerToken::new(token, &wired.gateway.hasher);
    let admin = admin_function::router(wired.gateway.clone(), owner.context("GATEWAY_ADMIN_TOKEN")?);
    let router = gateway_function::router(wired.gateway.clone()).merge(admin);
    Ok((wired, router, demo_key))
}

/// What a newcomer needs to know, in the order in which they need it.
fn greeting(wired: &Wired, address: SocketAddr, demo_key: Option<&str>) -> String {
    let config: &Config = &wired.gateway.config;
    let mut lines = vec![
        format!("AI Gateway on http://{address} (data in {}, {})\n", wired.place, wired.config_name),
        format!("  base URL     http://{address}/v1"),
        format!("  dashboard    http://{address}/admin/"),
        format!("  store        {}", wired.gateway.store.kind()),
    ];
    lines.extend(demo_key.map(|key| format!("  API key      {key}")));
    // What came from the environment is known there, and has no business in a container's log (T3).
    let made = wired.owner_token.as_deref().filter(|_| variable("GATEWAY_ADMIN_TOKEN").is_none());
    lines.push(format!("  admin token  {}", made.unwrap_or("as GATEWAY_ADMIN_TOKEN says")));
    for tier in &config.catalog.tiers {
        let models: Vec<&str> = tier.models.iter().map(|model| &*model.name).collect();
        lines.push(format!("  {:<12} {}", tier.name, models.join(", ")));
    }
    lines.extend(config.notices.iter().map(|notice| format!("  note         {notice}")));
    lines.extend(demo_key.map(|key| {
        format!(
            "\nTry it:\n\ncurl -s http://{address}/v1/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' -d '{{\"model\":\"auto\",\"messages\":[{{\"role\":\"user\",\"content\":\"What is an API?\"}}]}}'"
        )
    }));
    lines.join("\n") + "\n"
}
