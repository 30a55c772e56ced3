//! Frames of Amazon's event stream.

/// An event as the answer has it: its name, a blank, and its JSON. What has no name is none, and its checksum is wrong.
pub(crate) fn of(event: &str) -> Vec<u8> {
    match event.split_once(' ').filter(|(name, _)| !name.starts_with('{')) {
        Some((name, json)) => frame(name, json),
        None => {
            let mut broken = frame("contentBlockDelta", event);
            broken.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
            broken
        }
    }
}

/// A frame with an event or, if its name begins with `!`, an exception.
fn frame(name: &str, payload: &str) -> Vec<u8> {
    let (kind, title, name) = match name.strip_prefix('!') {
        Some(name) => ("exception", ":exception-type", name),
        None => ("event", ":event-type", name),
    };
    let mut headers = Vec::new();
    for (name, value) in [(title, name), (":content-type", "application/json"), (":message-type", kind)] {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let mut frame = ((16 + headers.len() + payload.len()) as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}
