//! Where an object ends whose JSON comes in parts.

/// How much of an object's JSON has come.
#[derive(Debug, Default)]
pub(super) struct Extent {
    depth: usize,
    has_begun: bool,
    in_text: bool,
    escaped: bool,
}

impl Extent {
    pub(super) fn take(&mut self, json: &str) {
        for byte in json.bytes() {
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'{' | b'[' if !self.in_text => (self.depth, self.has_begun) = (self.depth + 1, true),
                b'}' | b']' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.has_begun && self.depth == 0
    }
}
