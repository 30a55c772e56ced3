//! Claims: each is one conditional write; where its condition is not met, the same answer shows what is there.
//!
//! An answer that is kept for an idempotency key may be larger than an item (400 KB). Its parts are written first, each in a
//! partition of its own, and are nobody's until the one write that ends the claim says how many there are.

use super::{DAY_MS, DynamoLedger};
use crate::dynamodb::{Change, EXPIRES, Fault, Item, Key, bytes, bytes_of, number, number_of, seconds, text, text_of};
use crate::id::{RequestId, random_u64};
use crate::ledger::{Begun, Claims, IdempotencyKey, LedgerError};
use crate::limit::window::Window;
use crate::money::Amounts;
use crate::tenant::key::hex;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;

/// For how long an idempotency key is known.
const KEEP_MS: u64 = DAY_MS;
/// After what time DynamoDB may delete what belongs to a window, after its end.
const DELETE_WINDOWS_MS: u64 = 40 * DAY_MS;
/// What one item takes of an answer, in bytes.
const PART_BYTES: usize = 350_000;
/// How many parts travel at once.
const PARTS_AT_ONCE: usize = 8;

#[async_trait]
impl Claims for DynamoLedger {
    async fn grant(&self, tenant: &str, window: &Window, more: Amounts, max: Amounts) -> Result<bool, LedgerError> {
        if more.minus(max) != Amounts::default() {
            return Ok(false);
        }
        // A condition cannot add, so it compares what is taken with what may be taken before this.
        let room = max.minus(more);
        let key = Key::alone(format!("GRANT#{tenant}#{}", window.key()));
        let add = "SET expires_s = :expires_s ADD requests :requests, tokens :tokens, cost_nusd :cost_nusd";
        let fits = "attribute_not_exists(pk) OR (requests <= :requests_room AND tokens <= :tokens_room \
                    AND cost_nusd <= :cost_nusd_room)";
        let take = Change::update(key, add)
            .only_if(fits)
            .with(":expires_s", seconds(window.resets_at_ms.saturating_add(DELETE_WINDOWS_MS)))
            .with(":requests", number(more.requests))
            .with(":tokens", number(more.tokens))
            .with(":cost_nusd", number(more.cost_nusd))
            .with(":requests_room", number(room.requests))
            .with(":tokens_room", number(room.tokens))
            .with(":cost_nusd_room", number(room.cost_nusd));
        Ok(self.table.write(take).await?.is_none())
    }

    async fn open_window(&self, tenant: &str, window: &Window) -> Result<bool, LedgerError> {
        let key = Key::alone(format!("OPENED#{tenant}#{}", window.key()));
        // Sent again because its answer was lost, it finds itself.
        let opener = format!("{:016x}", random_u64());
        let expires = seconds(window.resets_at_ms.saturating_add(DELETE_WINDOWS_MS));
        let open =
            Change::put(key, [("opener", text(&opener)), (EXPIRES, expires)]).only_if("attribute_not_exists(pk)");
        let refusal = self.table.write(open).await?;
        Ok(refusal.is_none_or(|was| was.item.is_some_and(|item| text_of(&item, "opener").is_ok_and(|by| by == opener))))
    }

    async fn begin(
        &self,
        key: &IdempotencyKey,
        body: [u8; 32],
        request: RequestId,
        lease_until_ms: u64,
        now_ms: u64,
    ) -> Result<Begun, LedgerError> {
        let attributes = [
            ("body", bytes(body)),
            ("claimant", text(request.to_string())),
            ("begun_at_ms", number(now_ms)),
            ("lease_until_ms", number(lease_until_ms)),
            (EXPIRES, seconds(now_ms.saturating_add(KEEP_MS))),
        ];
        // Whatever is too old is as if it were not there: DynamoDB takes days to delete it.
        let is_free = "attribute_not_exists(pk) OR begun_at_ms <= :too_old \
                       OR (attribute_not_exists(parts) AND lease_until_ms <= :now)";
        let claim = Change::put(claim_key(key), attributes)
            .only_if(is_free)
            .with(":too_old", number(i128::from(now_ms) - i128::from(KEEP_MS)))
            .with(":now", number(now_ms));
        let Some(refusal) = self.table.write(claim).await? else { return Ok(Begun::Fresh) };
        // An emulator or a proxy that does not show what is there must not be taken for a free key.
        let taken = refusal.item.ok_or_else(|| Fault("the answer lacks the item".to_owned()))?;
        if bytes_of(&taken, "body") != Some(&body) {
            return Ok(Begun::Mismatch);
        }
        if taken.contains_key("parts") {
            return Ok(Begun::Done(self.answer(key, &taken).await?));
        }
        let is_same = text_of(&taken, "claimant")? == request.to_string();
        Ok(if is_same { Begun::Fresh } else { Begun::Running })
    }

    async fn finish(
        &self,
        key: &IdempotencyKey,
        request: RequestId,
        answer: Option<Bytes>,
        now_ms: u64,
    ) -> Result<(), LedgerError> {
        let end = match answer {
            None => Change::delete(claim_key(key)),
            Some(answer) if answer.len() <= PART_BYTES => {
                let set = Change::update(claim_key(key), "SET parts = :parts, answer = :answer");
                set.with(":parts", number(0)).with(":answer", bytes(answer))
            }
            Some(answer) => {
                let parts: Vec<&[u8]> = answer.chunks(PART_BYTES).collect();
                // A part outlives the claim that points to it.
                let expires = seconds(now_ms.saturating_add(2 * KEEP_MS));
                let numbered: Vec<_> = parts.iter().enumerate().collect();
                for some in numbered.chunks(PARTS_AT_ONCE) {
                    try_join_all(some.iter().map(|(n, part)| {
                        let attributes = [("answer", bytes(part.to_vec())), (EXPIRES, expires.clone())];
                        self.table.write(Change::put(part_key(key, &request.to_string(), *n), attributes))
                    }))
                    .await?;
                }
                let set = Change::update(claim_key(key), "SET parts = :parts");
                set.with(":parts", number(parts.len()))
            }
        };
        let is_mine = "claimant = :claimant AND attribute_not_exists(parts)";
        self.table.write(end.only_if(is_mine).with(":claimant", text(request.to_string()))).await?;
        Ok(())
    }
}

impl DynamoLedger {
    /// The answer of a claim that has ended.
    async fn answer(&self, key: &IdempotencyKey, taken: &Item) -> Result<Bytes, Fault> {
        let lost = || Fault("an idempotency key's answer is not there".to_owned());
        let count = number_of(taken, "parts");
        if count == 0 {
            return bytes_of(taken, "answer").map(Bytes::copy_from_slice).ok_or_else(lost);
        }
        let claimant = text_of(taken, "claimant")?;
        let keys: Vec<Key> = (0..usize::try_from(count).unwrap_or(0)).map(|n| part_key(key, claimant, n)).collect();
        let mut answer = BytesMut::new();
        for some in keys.chunks(PARTS_AT_ONCE) {
            for part in try_join_all(some.iter().map(|key| self.table.get(key))).await? {
                answer.extend_from_slice(part.as_ref().and_then(|part| bytes_of(part, "answer")).ok_or_else(lost)?);
            }
        }
        Ok(answer.freeze())
    }
}

fn claim_key(key: &IdempotencyKey) -> Key {
    Key::alone(format!("IDEMPOTENCY#{}#{}", key.tenant, hex(&key.hash)))
}

fn part_key(key: &IdempotencyKey, claimant: &str, n: usize) -> Key {
    Key::alone(format!("ANSWER#{}#{}#{claimant}#{n:03}", key.tenant, hex(&key.hash)))
}
