//! The admin plane of a gateway that runs, for commands that ask it.

use anyhow::{Context, bail};
use gateway_core::tls;
use gateway_host::environment::variable;
use gateway_host::http::address;
use gateway_host::wiring::Place;
use reqwest::{Client, Method, Url};
use serde_json::Value;

/// How much of an answer that is none of the plane's is repeated.
const SHOWN_CHARS: usize = 500;

/// Who is asked, and as whom.
pub(crate) struct Plane {
    client: Client,
    root: Url,
    token: String,
}

impl Plane {
    /// The plane at `GATEWAY_ADMIN_URL`, or of the gateway on `GATEWAY_ADDR`; by `GATEWAY_ADMIN_TOKEN`, or the token in the
    /// data folder.
    ///
    /// # Errors
    /// The address is none, or there is no token.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let root = variable("GATEWAY_ADMIN_URL").unwrap_or_else(|| format!("http://{}/admin", address()));
        let root =
            Url::parse(&format!("{}/", root.trim_end_matches('/'))).with_context(|| format!("{root} is no URL"))?;
        let token = match (variable("GATEWAY_ADMIN_TOKEN"), Place::from_env()?) {
            (Some(token), _) => token,
            (None, Place::Folder(folder)) => std::fs::read_to_string(folder.join("admin-token"))
                .context("GATEWAY_ADMIN_TOKEN is not set, and there is none in the data folder")?,
            (None, Place::Table(_)) => bail!("GATEWAY_ADMIN_TOKEN is not set"),
        };
        let client = Client::builder().tls_backend_preconfigured(tls::client_config()?).build()?;
        Ok(Self { client, root, token: token.trim().to_owned() })
    }

    /// Sends a request to a path below `/admin/`; nothing is `null`.
    ///
    /// # Errors
    /// The gateway cannot be reached, or refuses it: in its words.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.client.request(method, self.root.join(path)?).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.with_context(|| format!("{} cannot be reached", self.root))?;
        let (status, bytes) = (answer.status(), answer.bytes().await?);
        let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(&bytes) };
        match body {
            Ok(body) if status.is_success() => Ok(body),
            Ok(body) if body["error"]["message"].is_string() => {
                let [param, message] =
                    ["param", "message"].map(|name| body["error"][name].as_str().unwrap_or_default());
                let field = if param.is_empty() { String::new() } else { format!("{param}: ") };
                bail!("{status}: {field}{message}")
            }
            _ => bail!("{status}: {}", String::from_utf8_lossy(&bytes).chars().take(SHOWN_CHARS).collect::<String>()),
        }
    }

    /// All rows of a list, page by page.
    ///
    /// # Errors
    /// As [`Plane::ask`].
    pub(crate) async fn all(&self, path: &str, params: &[(&str, &str)]) -> anyhow::Result<Vec<Value>> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.page(path, params, &cursor).await?;
            rows.extend(page["data"].as_array().cloned().unwrap_or_default());
            let Some(next) = page["next"].as_str() else { return Ok(rows) };
            next.clone_into(&mut cursor);
        }
    }

    /// One page of a list, from after `cursor`, which is empty for the first.
    ///
    /// # Errors
    /// As [`Plane::ask`].
    pub(crate) async fn page(&self, path: &str, params: &[(&str, &str)], cursor: &str) -> anyhow::Result<Value> {
        let said = params.iter().copied().chain((!cursor.is_empty()).then_some(("cursor", cursor)));
        let mut url = self.root.join(path)?;
        url.query_pairs_mut().extend_pairs(said.filter(|(_, value)| !value.is_empty()));
        self.ask(Method::GET, url.as_str(), None).await
    }
}
