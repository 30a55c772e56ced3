//! What only a provider's own format can say, at a door of another one.

use crate::rig::{ask, cheap};
use crate::tiny_answers::tiny_ask;
use crate::tiny_format::tiny;
use async_trait::async_trait;
use gateway_core::provider::{Call, Chunk, Chunks, Provider, ProviderError, Reply};
use gateway_core::wire::openai::answer::{as_stream, completion};
use std::sync::Arc;

/// A provider of OpenAI's format with something in its answer that no other has.
struct Native;

#[async_trait]
impl Provider for Native {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        const ANSWER: &str = r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"map"}]},"finish_reason":"stop"}]}"#;
        Ok(match call.stream {
            true => Reply::Stream(Box::new(AtOnce(Some(as_stream(ANSWER.into(), 1).unwrap())))),
            false => Reply::Whole(Box::new(completion(ANSWER.into(), 1, 1.0).unwrap())),
        })
    }
}

struct AtOnce(Option<Vec<Chunk>>);

#[async_trait]
impl Chunks for AtOnce {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        Ok(self.0.take())
    }
}

#[tokio::test]
async fn what_a_door_cannot_say_of_an_answer_is_a_reason_on_the_receipt() {
    for live in [false, true] {
        let rig = cheap(["sim/cheap"]).with(|builder| builder.provider("sim", Arc::new(Native))).build().await;
        let there = tiny(&rig, &[], &tiny_ask("sim/cheap", live)).await;
        let mut body = ask("sim/cheap");
        body["stream"] = live.into();
        let here = rig.chat(body).await;
        for (got, left_out) in [(there, true), (here, false)] {
            let reasons = rig.receipt(&got).await["reasons"].to_string();
            assert_eq!((got.status, reasons.contains("cannot say all")), (200, left_out), "{live}: {reasons}");
        }
    }
}
