#![allow(clippy::unwrap_used, clippy::panic)]
mod requests;
mod streams;

use crate::id::RequestId;
use crate::wire::answer::{Chunk, NotACompletion};
use crate::wire::gemini::answer::Answers;
use crate::wire::sse::{Kind, SseParser};

/// As the documentation shows it: the model thinks aloud, speaks, calls two tools of which it signs the first, and says in an
/// event of its own that it has ended.
const STREAM: &str = r#"data: {"candidates":[{"content":{"parts":[{"text":"So \"x\"","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":18,"totalTokenCount":18,"promptTokensDetails":[{"modality":"TEXT","tokenCount":18}]},"modelVersion":"gemini-x","responseId":"r1"}

data: {"candidates":[{"content":{"parts":[{"text":"On "}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":18,"cachedContentTokenCount":4,"candidatesTokenCount":1,"thoughtsTokenCount":5,"totalTokenCount":24},"modelVersion":"gemini-x","responseId":"r1"}

data: {"candidates":[{"content":{"parts":[{"text":"it."},{"functionCall":{"id":"g1","name":"look","args":{"b": 1.10,"a":"x"}},"thoughtSignature":"c2ln"},{"functionCall":{"name":"see"}}],"role":"model"},"index":0}],"usageMetadata":{"trafficType":"ON_DEMAND"},"modelVersion":"gemini-x","responseId":"r1"}

data: {"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"c2ln"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":18,"cachedContentTokenCount":4,"candidatesTokenCount":7,"thoughtsTokenCount":5,"totalTokenCount":30},"modelVersion":"gemini-x","responseId":"r1"}

"#;

fn id() -> RequestId {
    "01KB0QR3M00000000000000000".parse().unwrap()
}

/// The chunks of a stream of one answer.
fn read(wire: &[u8]) -> Result<Vec<Chunk>, NotACompletion> {
    let (mut parser, mut answers, mut chunks) = (SseParser::default(), Answers::of(1), Vec::new());
    parser.feed(wire);
    parser.finish();
    while let Some(event) = parser.next_event().unwrap() {
        if event.kind == Kind::Message {
            chunks.extend(answers.read(event.data)?);
        }
    }
    Ok(chunks)
}

/// The events of a stream as the list that comes without `alt=sse`.
fn as_list(stream: &str) -> String {
    let events: Vec<&str> = stream.split_terminator("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    format!("[{}]", events.join(",\r\n"))
}
