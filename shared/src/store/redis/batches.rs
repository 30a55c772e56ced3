//! What travels together: an admission with what it looks up, a settlement with what it leaves behind.

use super::answers::settled;
use super::cache::answer_of;
use super::counters::Mode;
use super::health::recordings;
use super::script::Batch;
use super::store::RedisStore;
use crate::health::Observation;
use crate::store::{
    Admission, CacheKey, CacheWrite, Counters, HealthStore, ResponseCache, Settled, Settlement, Store, StoreError,
    Ticket, Verdict, remember,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

#[async_trait]
impl Store for RedisStore {
    fn counters(&self) -> &dyn Counters {
        self
    }

    fn cache(&self) -> &dyn ResponseCache {
        self
    }

    fn health(&self) -> &dyn HealthStore {
        self
    }

    fn kind(&self) -> &'static str {
        if self.connection.is_cluster() { "redis-cluster" } else { "redis" }
    }

    async fn ping(&self, _now_ms: u64) -> Result<(), StoreError> {
        // A command with a key, as a cluster knows where to send it.
        let mut exists = ::redis::cmd("GET");
        exists.arg(format!("{}ping", self.prefix));
        self.ask(exists.into()).await.map(drop)
    }

    fn is_skipped(&self) -> bool {
        self.connection.is_skipped()
    }

    async fn claim(&self, name: &str, for_ms: u64, _now_ms: u64) -> Result<bool, StoreError> {
        let mut claim = ::redis::cmd("SET");
        claim.arg(format!("{}a:{name}", self.prefix)).arg(1).arg("NX").arg("PX").arg(for_ms);
        Ok(self.ask(claim.into()).await? != ::redis::Value::Nil)
    }

    async fn admit(
        &self,
        ask: &Admission,
        ticket: &mut Ticket,
        key: Option<&CacheKey>,
        now_ms: u64,
    ) -> Result<(Verdict, Option<Bytes>), StoreError> {
        let Some(key) = key else {
            return Ok((Counters::admit(self, ask, ticket, false, now_ms).await?, None));
        };
        let key = self.cache_key(key);
        let mut batch = Batch::atomic();
        let remembered = batch.push(self.read(&key).into());
        let looked = batch.push(self.admission(ask, Mode::Look(&key), now_ms));
        let mut sent = self.connection.send(&batch).await?;
        let admitted = self.admitted(ask, ticket, &sent.take(looked)?, sent.sent_twice, now_ms)?;
        let answer = admitted.is_hit.then(|| {
            let remembered = sent.take(remembered).unwrap_or_default();
            // There is none where the first of two copies was counted, and what it found has expired since; or where a
            // cluster moves its slot, as commands travel apart then. What is empty cannot be read, and the request goes
            // to a provider.
            answer_of(remembered, &admitted.cache_version, now_ms).unwrap_or_default()
        });
        self.learn_cache_version(&ask.tenant, admitted.cache_version);
        Ok((admitted.verdict, answer))
    }

    async fn settle(
        &self,
        settlement: &Settlement,
        ticket: &Ticket,
        observations: &[Observation],
        write: Option<CacheWrite>,
        now_ms: u64,
    ) -> Result<Settled, StoreError> {
        // The tenant's admission had the cache version; if that was long ago, it is read beside the settlement.
        let (mut set, mut put) = (Vec::new(), None);
        if let Some(write) = write {
            match self.known_cache_version(&write.key.tenant).filter(|_| write.key.tenant == settlement.tenant) {
                Some(of) => {
                    set.extend(self.write(&write.key, &write.value, write.ttl_ms, &of, now_ms));
                    if let Some((group, note)) = &write.note {
                        set.extend(self.add_note(group, note, write.ttl_ms, &of, now_ms));
                    }
                }
                None => put = Some(write),
            }
        }
        let put = async {
            match put {
                Some(write) => remember(self, write, now_ms).await,
                None => Ok(()),
            }
        };
        let mut batch = Batch::default();
        let charged = batch.push(self.settlement(settlement, ticket, now_ms));
        let set: Vec<_> = set.into_iter().map(|set| batch.push(set.into())).collect();
        let (recordings, is_cluster) = (recordings(observations), self.connection.is_cluster());
        let (mut recorded, mut apart) = (Vec::new(), Vec::new());
        for recording in &recordings {
            let step = self.recording(recording, now_ms);
            // In a cluster the models are in other slots.
            match is_cluster {
                true => apart.push(async move { (recording, self.ask(step).await) }),
                false => recorded.push((recording, batch.push(step))),
            }
        }
        let (answers, apart, put) = tokio::join!(self.connection.send(&batch), join_all(apart), put);
        let mut answers = answers?;
        let mut outcomes = vec![put];
        outcomes.extend(set.into_iter().map(|set| answers.take(set).map(drop)));
        outcomes.extend(apart.into_iter().map(|(recording, answer)| self.recorded(recording, answer, now_ms)));
        for (recording, place) in recorded {
            outcomes.push(self.recorded(recording, answers.take(place), now_ms));
        }
        for error in outcomes.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "what was learnt of a request is lost");
        }
        settled(&answers.take(charged)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::health::Signal;
    use crate::health::breaker::BreakerSettings;
    use crate::health::score::HealthSettings;
    use test_servers::redis::Redis;

    const NOW: u64 = 1_763_820_000_000;

    fn store_at(redis: &Redis) -> RedisStore {
        let (health, breaker) = (HealthSettings::default(), BreakerSettings::default());
        RedisStore::new(&redis.url(), &health, &breaker, 1 << 20).unwrap()
    }

    fn answered() -> [Observation; 1] {
        let signal = Signal::Answered { ttft_ms: 20.0, ms_per_token: None };
        [Observation { model: "m".into(), begun_at_ms: NOW, signal }]
    }

    async fn weight(store: &RedisStore) -> f64 {
        store.snapshot(&["m".into()], NOW).await.unwrap()[0].measures.ttft_ms.weight
    }

    #[tokio::test]
    async fn a_batch_that_comes_again_counts_once() {
        let redis = Redis::start(&[]).await.unwrap();
        let (store, observations) = (store_at(&redis), answered());
        for expected in [1.0, 2.0] {
            let recording = recordings(&observations).remove(0);
            let mut batch = Batch::default();
            let place = batch.push(store.recording(&recording, NOW));
            for _ in 0..2 {
                let mut sent = store.connection.send(&batch).await.unwrap();
                store.recorded(&recording, sent.take(place), NOW).unwrap();
                store.models.lock().unwrap().clear();
                assert_eq!(weight(&store).await, expected);
            }
        }
    }

    #[tokio::test]
    async fn what_is_read_before_a_recording_is_answered_is_not_counted_twice() {
        let redis = Redis::start(&[]).await.unwrap();
        let (store, observations) = (store_at(&redis), answered());
        let recording = recordings(&observations).remove(0);
        for expected in [1.0, 2.0] {
            let answer = store.ask(store.recording(&recording, NOW)).await;
            // By another request, whose answer comes first.
            store.models.lock().unwrap().clear();
            assert_eq!(weight(&store).await, expected);
            store.recorded(&recording, answer, NOW).unwrap();
            assert_eq!(weight(&store).await, expected);
        }
        let answer = store.ask(store.recording(&recording, NOW)).await;
        store.recorded(&recording, answer, NOW).unwrap();
        assert_eq!(weight(&store).await, 3.0, "nor is what was read before it forgotten");
    }
}
