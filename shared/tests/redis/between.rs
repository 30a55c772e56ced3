//! What another client does between two commands that travel together.
//!
//! A server that finds both in its buffer runs nothing between them, transaction or not; so they are brought to it one by one.

use super::{HOLD, NOW, ZERO, ask, cache_key, introduce, store_at, used_and_held};
use gateway_core::id::RequestId;
use gateway_core::money::Amounts;
use gateway_core::store::contract::Unticketed;
use gateway_core::store::{Admission, ResponseCache, Settlement, Store, Ticket, Verdict};
use test_servers::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Carries one connection to a server. When the call of a script comes, what stands before it is brought and answered; then
/// `held` is told, and the call and what follows it wait for `go`.
async fn carry_apart(listener: TcpListener, port: u16, held: oneshot::Sender<()>, go: oneshot::Receiver<()>) {
    let (client, _) = listener.accept().await.unwrap();
    let (mut asks, mut hears) = client.into_split();
    let (mut answers, mut to_server) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
    let (answered, mut answer) = watch::channel(());
    let back = async move {
        let mut bytes = vec![0; 65_536];
        while let Ok(length @ 1..) = answers.read(&mut bytes).await {
            answered.send_replace(());
            hears.write_all(&bytes[..length]).await.unwrap();
        }
    };
    let there = async move {
        let (mut bytes, mut between) = (vec![0; 65_536], Some((held, go)));
        while let Ok(length @ 1..) = asks.read(&mut bytes).await {
            let mut asked = &bytes[..length];
            if let Some(at) = asked.windows(7).position(|word| word == b"EVALSHA")
                && let Some((held, go)) = between.take()
            {
                answer.mark_unchanged();
                to_server.write_all(&asked[..at]).await.unwrap();
                answer.changed().await.unwrap();
                held.send(()).unwrap();
                go.await.unwrap();
                asked = &asked[at..];
            }
            to_server.write_all(asked).await.unwrap();
        }
    };
    tokio::join!(back, there);
}

#[tokio::test]
async fn an_answer_that_is_remembered_while_it_is_looked_for_is_counted_and_given_or_neither() {
    let redis = Redis::start(&[]).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = store_at(&format!("redis://{}", listener.local_addr().unwrap()));
    let (other, key) = (store_at(&redis.url()), cache_key("acme", 1));
    let first = ask("acme");
    introduce(&other, &first).await;
    // It teaches the server the script as well.
    other.counters().admit_unticketed(&first, false, NOW).await.unwrap();
    other.counters().settle_unticketed(&Settlement::of(&first, HOLD), NOW).await.unwrap();

    let ((held, is_held), (go, gone)) = (oneshot::channel(), oneshot::channel());
    let mut line = JoinSet::new();
    line.spawn(carry_apart(listener, redis.port(), held, gone));
    let late = Admission { id: RequestId::new(NOW), ..first };
    let mut ticket = Ticket::new(late.id);
    let meanwhile = async {
        is_held.await.unwrap();
        other.put(&key, "answer".into(), 60_000, NOW).await.unwrap();
        go.send(()).unwrap();
    };
    let (admitted, ()) = tokio::join!(Store::admit(&store, &late, &mut ticket, Some(&key), NOW), meanwhile);
    let (verdict, answer) = admitted.unwrap();
    assert!(!ticket.is_doubtful(), "it was sent once");
    assert!(matches!(verdict, Verdict::Admitted { held: ZERO, .. }), "{verdict:?}");
    assert_eq!(answer.as_deref(), Some(&b"answer"[..]), "what is counted as a hit is there to be given");
    let hit = Amounts { requests: 1, ..ZERO };
    assert_eq!(used_and_held(&other, "acme").await, (HOLD.plus(hit), ZERO));
}
