//! The scripts, one per atomic operation, and what is sent of them.
//!
//! A script is called by its hash. A server that does not know it (it was restarted, flushed, or is new in the cluster) is
//! sent the same call with the text, which teaches it: nobody has to load scripts beforehand, and forgetting them at any
//! time costs one more wait and no error.
//!
//! What scripts share stands in front of them, as Redis has no way to include: [`Scripts`] says which. All begin with
//! `#!lua`, so that the server refuses keys that were not declared, and refuses a script that would write to a full memory
//! before it begins; those that end something say `allow-oom`, for they must never be refused.

use redis::{Arg, Cmd, Pipeline, ToRedisArgs};

/// A script and its hash.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    sha1: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, sha1: redis::Script::new(text).get_hash().to_owned() }
    }
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) admit: Script,
    pub(super) extend: Script,
    pub(super) settle: Script,
    pub(super) release: Script,
    pub(super) free_place: Script,
    pub(super) rebuild: Script,
    pub(super) close: Script,
    pub(super) usage: Script,
    pub(super) acknowledge: Script,
    pub(super) cache_version: Script,
    pub(super) record: Script,
    pub(super) probe: Script,
    pub(super) retry: Script,
}

/// A script's text: its flags, the shared parts, its own lines.
macro_rules! lua {
    ($flags:literal, $($part:literal),+) => {
        Script::new(concat!("#!lua", $flags, "\n", $(include_str!(concat!("../lua/", $part, ".lua"))),+))
    };
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            admit: lua!("", "gcra", "tenant", "key", "arguments", "sweep", "admit"),
            extend: lua!("", "tenant", "extend"),
            settle: lua!(" flags=allow-oom", "gcra", "tenant", "key", "arguments", "charge", "tombstone", "settle"),
            release: lua!(" flags=allow-oom", "gcra", "tenant", "key", "arguments", "charge", "tombstone", "release"),
            free_place: lua!(" flags=allow-oom", "tenant", "key", "free_place"),
            rebuild: lua!("", "tenant", "key", "sweep", "rebuild"),
            close: lua!("", "tenant", "close"),
            usage: lua!(" flags=allow-oom", "tenant", "key", "sweep", "usage"),
            acknowledge: lua!(" flags=allow-oom", "tenant", "tombstone", "acknowledge"),
            cache_version: lua!("", "tenant", "cache_version"),
            record: lua!("", "model", "record"),
            probe: lua!("", "model", "probe"),
            retry: lua!("", "retry"),
        }
    }
}

/// Numbers as scripts take them, many in one argument: doubles of eight bytes, the least significant first.
pub(super) fn packed(numbers: impl IntoIterator<Item = f64>) -> Vec<u8> {
    let mut packed = Vec::with_capacity(256);
    for number in numbers {
        packed.extend_from_slice(&number.to_le_bytes());
    }
    packed
}

/// The numbers of such a one, if there are `N`.
pub(super) fn unpacked<const N: usize>(packed: &[u8]) -> Option<[f64; N]> {
    let (numbers, rest) = packed.as_chunks::<8>();
    let numbers: [[u8; 8]; N] = numbers.try_into().ok()?;
    rest.is_empty().then(|| numbers.map(f64::from_le_bytes))
}

/// A number that scripts keep whole, above 0 and below 2^53, out of 64 random bits.
pub(super) fn fit(random: u64) -> u64 {
    (random >> 11).max(1)
}

/// A number that scripts keep whole, from 0 to 2^53.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

impl Script {
    /// A call with these keys, by the script's hash; its arguments follow.
    pub(super) fn call(&self, keys: &[&str]) -> Step<'_> {
        let mut command = Cmd::with_capacity(16, 512);
        command.arg("EVALSHA").arg(&self.sha1).arg(keys.len()).arg(keys);
        Step { command, script: Some(self) }
    }
}

/// One command of a batch.
#[derive(Debug)]
pub(super) struct Step<'a> {
    command: Cmd,
    /// The script that it calls, if it calls one.
    script: Option<&'a Script>,
}

impl From<Cmd> for Step<'_> {
    fn from(command: Cmd) -> Self {
        Self { command, script: None }
    }
}

impl Step<'_> {
    /// The same with one more argument.
    pub(super) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.command.arg(arg);
        self
    }
}

/// Commands that travel together.
#[derive(Default)]
pub(super) struct Batch<'a> {
    pub(super) pipeline: Pipeline,
    /// Whether they run with nothing between them, as one transaction.
    pub(super) is_atomic: bool,
    /// The script that each of them calls, if it calls one.
    scripts: Vec<Option<&'a Script>>,
}

/// Which of a batch's answers is a command's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(pub(super) usize);

impl<'a> Batch<'a> {
    /// Commands between which nobody else's run.
    pub(super) fn atomic() -> Self {
        let mut pipeline = Pipeline::new();
        pipeline.atomic();
        Self { pipeline, is_atomic: true, scripts: Vec::new() }
    }

    /// Adds a command; [`Answers::take`](super::connection::Answers::take) has its answer by what this returns.
    pub(super) fn push(&mut self, Step { command, script }: Step<'a>) -> Place {
        self.pipeline.add_command(command);
        self.scripts.push(script);
        Place(self.scripts.len() - 1)
    }

    /// Each command as a batch of its own.
    pub(super) fn apart(&self) -> impl Iterator<Item = Batch<'a>> {
        let steps = self.pipeline.cmd_iter().cloned().zip(self.scripts.iter().copied());
        steps.map(|(command, script)| {
            let mut batch = Batch::default();
            batch.push(Step { command, script });
            batch
        })
    }

    /// These of its commands for a server that does not know their scripts: with the text, which teaches it.
    pub(super) fn teaching(&self, which: &[usize]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(which.len());
        if self.is_atomic {
            pipeline.atomic();
        }
        for (at, (known, script)) in self.pipeline.cmd_iter().zip(&self.scripts).enumerate() {
            if !which.contains(&at) {
                continue;
            }
            let Some(script) = script else {
                pipeline.add_command(known.clone());
                continue;
            };
            let mut command = redis::cmd("EVAL");
            command.arg(script.text);
            for arg in known.args_iter().skip(2) {
                if let Arg::Simple(arg) = arg {
                    command.arg(arg);
                }
            }
            pipeline.add_command(command);
        }
        pipeline
    }
}
