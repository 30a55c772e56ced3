//! The DynamoDB table that the directory and the ledger share: one table, one client, and the few ways in which they use it.
//!
//! Reads are strongly consistent: a key that was revoked must not be found (T2), and a rebuild must see every receipt that
//! was recorded (M5). Writes are conditional or transactions, so that whatever is sent twice happens once (M2).
//!
//! Nothing hangs. An attempt has a second and an operation three, retries and pauses included, after which the caller is
//! told that DynamoDB is unavailable. What DynamoDB refuses only for now (throttling, two transactions on one item) is
//! tried again with jitter within that time. The SDK repeats a transaction under one client token, so that one whose answer
//! was lost is not done twice.
//!
//! What lies under which key is written down in `docs/dynamodb.md`.

mod fault;
mod item;

pub(crate) use item::{
    Change, EXPIRES, Item, Key, bytes, bytes_of, json, number, number_of, record_of, seconds, text, text_of,
    wide_number_of,
};

pub use fault::Fault;
pub(crate) use fault::fault;

use self::item::What;
use crate::aws::http_client;
use crate::id::jitter;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CancellationReason, KeySchemaElement, KeyType, KeysAndAttributes,
    ScalarAttributeType,
};
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// How long one attempt of an operation may take.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(1);
/// How long an operation may take, its retries and the pauses between them included.
const OPERATION_WITHIN: Duration = Duration::from_secs(3);
/// How often the SDK tries what may be tried again.
const ATTEMPTS: u32 = 4;
/// The longest pause before a cancelled transaction is tried for the second time; it doubles each time, to sixteen times.
const FIRST_PAUSE_MS: u64 = 10;
/// What DynamoDB takes in one batch of reads.
const KEYS_AT_ONCE: usize = 100;

/// A condition that was not met.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Which of the changes it belongs to.
    pub(crate) place: usize,
    /// The item as it is; `None` where there is none.
    pub(crate) item: Option<Item>,
}

/// A DynamoDB table.
#[derive(Clone)]
pub struct Table {
    client: Client,
    name: Arc<str>,
}

/// Which items of a partition are read, by the order of their `sk`, both ends included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) pk: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) newest_first: bool,
}

impl<'a> Span<'a> {
    /// Before every other text, and after.
    pub(crate) const FIRST: &'static str = "\0";
    pub(crate) const LAST: &'static str = "\u{10ffff}";

    /// All of a partition, in order.
    pub(crate) fn all(pk: &'a str) -> Self {
        Self { pk, from: Self::FIRST, to: Self::LAST, newest_first: false }
    }
}

impl Table {
    /// The table `name`, where the environment says: region, credentials, and `AWS_ENDPOINT_URL_DYNAMODB` for an emulator.
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub async fn from_env(name: &str) -> Result<Self, Fault> {
        Self::of(aws_config::defaults(BehaviorVersion::latest()), name).await
    }

    /// The table `name` of an emulator at `url`, whatever the environment says.
    ///
    /// # Errors
    /// As [`Table::from_env`].
    pub async fn at_emulator(url: &str, name: &str) -> Result<Self, Fault> {
        let nobody = Credentials::new("emulator", "emulator", None, None, "emulator");
        let emulator = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(url).credentials_provider(nobody);
        Self::of(emulator.region(Region::from_static("us-east-1")), name).await
    }

    async fn of(config: ConfigLoader, name: &str) -> Result<Self, Fault> {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_WITHIN)
            .operation_timeout(OPERATION_WITHIN)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_millis(400));
        let config = config
            .http_client(http_client().map_err(|error| Fault(error.to_string()))?)
            .timeout_config(timeouts)
            .retry_config(retries)
            // It watches streams; there are none.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        // Retries are paid from a bucket, so that an outage is not amplified; each table has its own.
        let config =
            aws_sdk_dynamodb::config::Builder::from(&config).retry_partition(RetryPartition::new(name.to_owned()));
        Ok(Self { client: Client::from_conf(config.build()), name: name.into() })
    }

    /// Makes the table where it is not there, for tests and emulators. On AWS `template.yaml` makes it, with backups,
    /// encryption and time-to-live; here nothing is deleted, for tests live in a past of their own.
    ///
    /// # Errors
    /// DynamoDB cannot be reached or refuses.
    pub async fn create(&self) -> Result<(), Fault> {
        let attribute = |name: &str| {
            let definition = AttributeDefinition::builder().attribute_name(name);
            definition.attribute_type(ScalarAttributeType::S).build().map_err(fault)
        };
        let key =
            |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().map_err(fault);
        let made = self
            .client
            .create_table()
            .table_name(&*self.name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(vec![attribute("pk")?, attribute("sk")?]))
            .set_key_schema(Some(vec![key("pk", KeyType::Hash)?, key("sk", KeyType::Range)?]))
            .send()
            .await;
        match made {
            Err(error) if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => {
                Ok(())
            }
            made => made.map(drop).map_err(sdk_fault),
        }
    }

    /// The item of this key.
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Item>, Fault> {
        let asked =
            self.client.get_item().table_name(&*self.name).set_key(Some(key.attributes())).consistent_read(true);
        Ok(asked.send().await.map_err(sdk_fault)?.item)
    }

    /// Those of the items of these keys that are there, in any order.
    pub(crate) async fn get_many(&self, keys: &[Key]) -> Result<Vec<Item>, Fault> {
        let mut found = Vec::new();
        for some in keys.chunks(KEYS_AT_ONCE) {
            let mut wanted: Vec<Item> = some.iter().map(Key::attributes).collect();
            let read = async {
                for n in 0.. {
                    let keys = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true);
                    let keys = keys.build().map_err(fault)?;
                    let answer = self.client.batch_get_item().request_items(&*self.name, keys).send().await;
                    let answer = answer.map_err(sdk_fault)?;
                    found.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
                    // Throttled in part, or more than fits an answer.
                    wanted = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys).collect();
                    if wanted.is_empty() {
                        break;
                    }
                    pause(n).await;
                }
                Ok(())
            };
            within(read).await?;
        }
        Ok(found)
    }

    /// At most `limit` of the items of a span that `keep` keeps, in their order.
    pub(crate) async fn query(
        &self,
        span: Span<'_>,
        limit: usize,
        keep: impl Fn(&Item) -> bool,
    ) -> Result<Vec<Item>, Fault> {
        let mut found = Vec::new();
        // One more than is wanted: the first may be the cursor's own, which is not kept.
        let each = |item: Item| {
            found.extend(Some(item).filter(&keep));
            Ok(if found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        self.visit(span, limit.saturating_add(1), each).await?;
        Ok(found)
    }

    /// Shows the items of a span to `each`, in their order, until it has seen enough; reads `at_once` of them at a time.
    pub(crate) async fn visit(
        &self,
        span: Span<'_>,
        at_once: usize,
        mut each: impl FnMut(Item) -> Result<ControlFlow<()>, Fault>,
    ) -> Result<(), Fault> {
        if span.from > span.to {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&*self.name)
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .expression_attribute_values(":pk", text(span.pk))
                .expression_attribute_values(":from", text(span.from))
                .expression_attribute_values(":to", text(span.to))
                .consistent_read(true)
                .scan_index_forward(!span.newest_first)
                .limit(i32::try_from(at_once).unwrap_or(i32::MAX))
                .set_exclusive_start_key(after)
                .send()
                .await
                .map_err(sdk_fault)?;
            for item in page.items.into_iter().flatten() {
                if each(item)?.is_break() {
                    return Ok(());
                }
            }
            after = page.last_evaluated_key;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// One page of the whole table, from after a key, and where the next page begins: of each item `attributes`,
    /// as an expression of DynamoDB's.
    pub(crate) async fn scan(
        &self,
        after: Option<&Key>,
        attributes: &'static str,
    ) -> Result<(Vec<Item>, Option<Key>), Fault> {
        let page = self
            .client
            .scan()
            .table_name(&*self.name)
            .projection_expression(attributes)
            .consistent_read(true)
            .set_exclusive_start_key(after.map(Key::attributes))
            .send()
            .await
            .map_err(sdk_fault)?;
        let next =
            page.last_evaluated_key.map(|key| Ok::<_, Fault>(Key::new(text_of(&key, "pk")?, text_of(&key, "sk")?)));
        Ok((page.items.unwrap_or_default(), next.transpose()?))
    }

    /// Does one change. If its condition is not met it does nothing, and answers so.
    pub(crate) async fn write(&self, change: Change) -> Result<Option<Refusal>, Fault> {
        let (table, key, old) = (&*self.name, change.key.attributes(), change.wants_old_item());
        let (condition, values) = (change.condition.map(str::to_owned), change.values());
        match change.what {
            What::Put(item) => {
                let put =
                    self.client.put_item().table_name(table).set_item(Some(item)).set_condition_expression(condition);
                let put = put.set_expression_attribute_values(values).set_return_values_on_condition_check_failure(old);
                outcome(put.send().await, |error| match error {
                    PutItemError::ConditionalCheckFailedException(refused) => Some(refused),
                    _ => None,
                })
            }
            What::Update(expression) => {
                let update =
                    self.client.update_item().table_name(table).set_key(Some(key)).update_expression(expression);
                let update = update.set_condition_expression(condition).set_expression_attribute_values(values);
                outcome(update.set_return_values_on_condition_check_failure(old).send().await, |error| match error {
                    UpdateItemError::ConditionalCheckFailedException(refused) => Some(refused),
                    _ => None,
                })
            }
            What::Delete => {
                let delete = self.client.delete_item().table_name(table).set_key(Some(key));
                let delete = delete.set_condition_expression(condition).set_expression_attribute_values(values);
                outcome(delete.set_return_values_on_condition_check_failure(old).send().await, |error| match error {
                    DeleteItemError::ConditionalCheckFailedException(refused) => Some(refused),
                    _ => None,
                })
            }
        }
    }

    /// Does all of the changes that `changes` makes, at most 100, of as many items; or none, if the condition of any of them
    /// is not met: then it answers which. `changes` gets how often it was tried before, and may choose other items.
    pub(crate) async fn transact(
        &self,
        changes: impl Fn(u32) -> Result<Vec<Change>, Fault>,
    ) -> Result<Vec<Refusal>, Fault> {
        within(async {
            for n in 0.. {
                let changes = changes(n)?.into_iter().map(|change| change.in_transaction(&self.name));
                let changes = changes.collect::<Result<Vec<_>, _>>()?;
                let Err(error) = self.client.transact_write_items().set_transact_items(Some(changes)).send().await
                else {
                    return Ok(Vec::new());
                };
                let reasons = match error.as_service_error() {
                    Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                        cancelled.cancellation_reasons()
                    }
                    _ => return Err(sdk_fault(error)),
                };
                let refused = refusals(reasons);
                if !refused.is_empty() {
                    return Ok(refused);
                }
                if !reasons.iter().filter_map(CancellationReason::code).any(passes) {
                    return Err(sdk_fault(error));
                }
                pause(n).await;
            }
            Ok(Vec::new())
        })
        .await
    }

    /// Whether the table answers.
    pub(crate) async fn ping(&self) -> Result<(), Fault> {
        self.get(&Key::alone("PING")).await.map(drop)
    }

    /// Whether the table takes a write: a table that is throttled or may only be read answers a ping.
    pub(crate) async fn probe(&self) -> Result<(), Fault> {
        self.write(Change::put(Key::alone("PING"), [])).await.map(drop)
    }
}

/// The conditions that were not met; each change has its reason, in order.
fn refusals(reasons: &[CancellationReason]) -> Vec<Refusal> {
    let refused = reasons.iter().enumerate().filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"));
    refused.map(|(place, reason)| Refusal { place, item: found(reason.item()) }).collect()
}

/// An emulator may say that there is nothing by an item without attributes.
fn found(item: Option<&Item>) -> Option<Item> {
    item.filter(|item| !item.is_empty()).cloned()
}

/// Whether a transaction that was cancelled for this reason may succeed when it is tried again.
fn passes(reason: &str) -> bool {
    matches!(reason, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
}

/// Waits for a random part of a time that doubles with each try, so that those who collided do not collide again.
pub(crate) async fn pause(tries: u32) {
    let max_ms = FIRST_PAUSE_MS << tries.min(4);
    tokio::time::sleep(Duration::from_millis(jitter() % (max_ms + 1))).await;
}

/// The bound of what takes several operations.
async fn within<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let late = |_| Err(Fault(format!("no success within {} s", OPERATION_WITHIN.as_secs())));
    tokio::time::timeout(OPERATION_WITHIN, work).await.unwrap_or_else(late)
}

fn outcome<T, E: Error + ProvideErrorMetadata + Send + Sync + 'static>(
    answer: Result<T, SdkError<E>>,
    refused: impl Fn(&E) -> Option<&ConditionalCheckFailedException>,
) -> Result<Option<Refusal>, Fault> {
    let Err(error) = answer else { return Ok(None) };
    match error.as_service_error().and_then(refused) {
        Some(refused) => Ok(Some(Refusal { place: 0, item: found(refused.item()) })),
        None => Err(sdk_fault(error)),
    }
}

/// The error for the operator: DynamoDB's own words where it answered, else what kept it from answering.
fn sdk_fault<E: Error + ProvideErrorMetadata + Send + Sync + 'static>(error: SdkError<E>) -> Fault {
    match (error.code(), error.message()) {
        (Some(code), message) => Fault(format!("{code}: {}", message.unwrap_or("no message"))),
        (None, _) => Fault(DisplayErrorContext(error).to_string()),
    }
}
