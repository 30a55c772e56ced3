#![allow(clippy::unwrap_used)]
use super::*;
use futures_util::future::join_all;
use std::collections::VecDeque;
use std::future::pending;
use tokio::task::yield_now;

/// 2025-11-22 14:00:00 UTC.
const NOW: u64 = 1_763_820_000_000;

/// Gives one answer after the other: a secret, nothing (`Err`), or no answer at all (`None`).
#[derive(Default)]
struct Shelf {
    answers: Mutex<VecDeque<Option<Result<&'static str, &'static str>>>>,
    reads: AtomicU64,
}

#[async_trait]
impl SecretSource for Shelf {
    async fn read(&self, _reference: &SecretRef, _now_ms: u64) -> Result<Secret, Unread> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let answer = lock(&self.answers).pop_front().unwrap_or(Some(Err("nothing more")));
        yield_now().await;
        match answer {
            Some(Ok(secret)) => Ok(Secret::new(secret).unwrap()),
            Some(Err(why)) => Err(Unread(why.into())),
            None => pending().await,
        }
    }
}

struct Bench {
    shelf: Arc<Shelf>,
    key: KeyValue,
    mask: Mask,
}

impl Bench {
    fn new(answers: &[Option<Result<&'static str, &'static str>>]) -> Self {
        let shelf = Arc::new(Shelf { answers: Mutex::new(answers.iter().copied().collect()), ..Shelf::default() });
        let mask = Mask::default();
        let kept = ProviderKey::Kept(SecretRef::Ssm("/key".into()), shelf.clone());
        Self { shelf, key: KeyValue::new(&kept, "Bearer ", &mask), mask }
    }

    async fn at(&self, second: u64) -> Option<String> {
        let value = self.key.now(NOW + second * 1000, &self.mask).await?;
        assert!(value.is_sensitive());
        Some(value.to_str().unwrap().to_owned())
    }

    async fn refused_at(&self, second: u64, refused: &str) -> Option<String> {
        let refused = HeaderValue::from_str(refused).unwrap();
        let value = self.key.in_place_of(&refused, NOW + second * 1000, &self.mask).await?;
        Some(value.to_str().unwrap().to_owned())
    }

    fn reads(&self) -> u64 {
        self.shelf.reads.load(Ordering::Relaxed)
    }
}

fn some(value: &str) -> Option<String> {
    Some(format!("Bearer {value}"))
}

#[tokio::test]
async fn a_key_is_read_when_it_is_needed_and_again_after_ten_minutes() {
    let bench = Bench::new(&[Some(Ok("first-key")), Some(Ok("second-key"))]);
    assert_eq!(bench.reads(), 0, "not before");
    for (second, key, reads) in
        [(0, "first-key", 1), (599, "first-key", 1), (600, "second-key", 2), (1199, "second-key", 2)]
    {
        assert_eq!((bench.at(second).await, bench.reads()), (some(key), reads), "{second}");
    }
}

#[tokio::test]
async fn those_who_come_at_once_wait_for_one_reading() {
    let bench = Bench::new(&[Some(Ok("first-key")), Some(Ok("second-key"))]);
    let all = join_all((0..50).map(|_| bench.at(0))).await;
    assert!(all.iter().all(|key| *key == some("first-key")));
    assert_eq!(bench.reads(), 1);
    let all = join_all((0..50).map(|_| bench.at(700))).await;
    assert_eq!(all.iter().filter(|key| **key == some("second-key")).count(), 1, "the others go on with the old one");
    assert_eq!((bench.reads(), bench.at(700).await), (2, some("second-key")));
}

#[tokio::test]
async fn a_key_that_was_refused_is_read_again_but_not_time_and_again() {
    let bench =
        Bench::new(&[Some(Ok("first-key")), Some(Ok("second-key")), Some(Ok("second-key")), Some(Ok("third-key"))]);
    assert_eq!(bench.at(0).await, some("first-key"));
    assert_eq!(bench.refused_at(5, "Bearer first-key").await, None, "it was read only now");
    let all = join_all((0..20).map(|_| bench.refused_at(60, "Bearer first-key"))).await;
    assert!(all.iter().all(|key| *key == some("second-key")), "{all:?}");
    assert_eq!(bench.reads(), 2);
    assert_eq!(bench.refused_at(120, "Bearer second-key").await, None, "it is the same still");
    assert_eq!((bench.refused_at(121, "Bearer second-key").await, bench.reads()), (None, 3));
    assert_eq!(bench.refused_at(180, "Bearer second-key").await, some("third-key"));
    let known = KeyValue::new(&Secret::new("known-key").unwrap().into(), "", &bench.mask);
    assert_eq!(known.in_place_of(&HeaderValue::from_static("known-key"), NOW, &bench.mask).await, None);
}

#[tokio::test]
async fn what_cannot_be_read_is_left_alone_for_a_moment_and_the_old_key_serves() {
    let bench =
        Bench::new(&[Some(Err("denied")), Some(Ok("first-key")), Some(Err("throttled")), Some(Ok("second-key"))]);
    for (second, key, reads) in [
        (0, None, 1),
        (9, None, 1),
        (10, some("first-key"), 2),
        (610, some("first-key"), 3),
        (619, some("first-key"), 3),
        (620, some("second-key"), 4),
    ] {
        assert_eq!((bench.at(second).await, bench.reads()), (key, reads), "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_does_not_end_is_given_up() {
    let bench = Bench::new(&[None, Some(Ok("first-key")), None]);
    assert_eq!(bench.at(0).await, None);
    assert_eq!(bench.at(10).await, some("first-key"));
    assert_eq!(bench.at(700).await, some("first-key"));
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_key_from_being_read() {
    let bench = Bench::new(&[Some(Ok("first-key")), Some(Ok("second-key"))]);
    assert_eq!(bench.at(3600).await, some("first-key"));
    assert_eq!(bench.at(0).await, some("second-key"));
}

#[tokio::test]
async fn every_key_that_was_read_is_masked() {
    let bench = Bench::new(&[Some(Ok("of-the/first=kind")), Some(Ok("of-the/second=kind"))]);
    let text = "of-the/first=kind of-the/second=kind";
    bench.at(0).await;
    assert_eq!(bench.mask.text(text), "*** of-the/second=kind");
    bench.at(600).await;
    assert_eq!(bench.mask.text(text), "*** ***");
}
