//! What is simulated: models with a price and a pace, what befalls them and when, and the requests that come.

use fastrand::Rng;
use std::f64::consts::TAU;

/// The models of every scenario, cheapest first: the order in which they are configured.
pub(crate) const MODELS: [Model; 4] = [
    Model { name: "penny", input_usd: 0.10, output_usd: 0.40, ttft_ms: 300.0, ms_per_token: 7.0 },
    Model { name: "dime", input_usd: 0.15, output_usd: 0.60, ttft_ms: 350.0, ms_per_token: 8.0 },
    Model { name: "dollar", input_usd: 0.60, output_usd: 2.40, ttft_ms: 320.0, ms_per_token: 8.5 },
    Model { name: "gold", input_usd: 2.50, output_usd: 10.0, ttft_ms: 500.0, ms_per_token: 11.0 },
];

/// How many there are.
pub(crate) const COUNT: usize = MODELS.len();

/// The share of calls that fail while nothing is wrong.
const NOISE: f64 = 0.003;

/// One model.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// US dollars per million tokens.
    pub(crate) input_usd: f64,
    pub(crate) output_usd: f64,
    /// Time to the first token, in the middle.
    pub(crate) ttft_ms: f64,
    /// Time per token after it.
    pub(crate) ms_per_token: f64,
}

/// What may befall a model.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// This share of its calls ends with 500 after so long.
    Fails { share: f64, after_ms: u64 },
    /// It takes calls and never says a word.
    Hangs,
    /// The same, but its streams show signs of life.
    KeepsAlive,
    /// This share of its answers breaks off half-way.
    Cuts(f64),
    /// It is so many times as slow.
    Slow(f64),
    /// It becomes so many times as slow, bit by bit.
    Drifts(f64),
    /// It takes so many calls a second, after so many at once; the others get 429, with `retry-after` or without.
    Limited { per_s: f64, burst: f64, tells: bool },
}

impl Fault {
    /// Whether nothing can be had from a model that this befalls.
    pub(crate) fn is_total(self) -> bool {
        matches!(self, Self::Fails { share: 1.0, .. } | Self::Hangs | Self::KeepsAlive)
    }
}

/// A fault of one model from one second to another.
#[derive(Clone, Copy)]
pub(crate) struct Spell {
    pub(crate) model: usize,
    pub(crate) from_s: u64,
    pub(crate) until_s: u64,
    pub(crate) fault: Fault,
}

impl Spell {
    pub(crate) fn is_on(&self, model: usize, at_ms: u64) -> bool {
        self.model == model && (self.from_s * 1000..self.until_s * 1000).contains(&at_ms)
    }

    /// How much of it has passed, from 0 to 1.
    pub(crate) fn share(&self, at_ms: u64) -> f64 {
        (at_ms as f64 - self.from_s as f64 * 1000.0) / ((self.until_s - self.from_s) as f64 * 1000.0)
    }
}

/// How requests come.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Arrivals {
    /// Each for itself.
    Poisson,
    /// The same, but for two seconds of every ten at four times the rate.
    Bursts,
}

/// What is played.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What happens, in a few words.
    pub(crate) what: &'static str,
    pub(crate) spells: Vec<Spell>,
    pub(crate) per_s: f64,
    pub(crate) arrivals: Arrivals,
    /// The share of requests that are streamed.
    pub(crate) streamed: f64,
    /// Factors on the models' own paces.
    pub(crate) paces: [f64; COUNT],
    pub(crate) seconds: u64,
}

impl Scenario {
    /// Whether some model answers at that time: one on which no spell lies but that of being slow.
    pub(crate) fn can_be_served(&self, at_ms: u64) -> bool {
        let bad = |spell: &Spell| !matches!(spell.fault, Fault::Slow(_) | Fault::Drifts(_));
        (0..COUNT).any(|model| !self.spells.iter().any(|spell| spell.is_on(model, at_ms) && bad(spell)))
    }

    /// The requests, the same for every policy.
    pub(crate) fn requests(&self, dice: &mut Rng) -> Vec<Asked> {
        let (mut at_s, mut requests) = (0.0, Vec::new());
        loop {
            let is_burst = self.arrivals == Arrivals::Bursts && at_s % 10.0 < 2.0;
            let per_s = if is_burst { 4.0 * self.per_s } else { self.per_s };
            at_s -= (1.0 - dice.f64()).ln() / per_s;
            if at_s >= self.seconds as f64 {
                return requests;
            }
            let (number, tokens) = (requests.len() as u64, dice.u64(20..300));
            requests.push(Asked {
                number,
                at_ms: (at_s * 1000.0) as u64,
                tokens,
                streamed: dice.f64() < self.streamed,
            });
        }
    }

    /// What comes of a call.
    pub(crate) fn fate(&self, model: usize, tokens: u64, at_ms: u64, dice: &mut Rng) -> Fate {
        let spec = &MODELS[model];
        let pace = self.paces[model] * (0.25 * normal(dice)).exp();
        let (mut ttft_ms, mut ms_per_token) = (spec.ttft_ms * pace, spec.ms_per_token * (0.1 * normal(dice)).exp());
        ms_per_token *= self.paces[model];
        let (luck, mut fate) = (dice.f64(), None);
        for spell in self.spells.iter().filter(|spell| spell.is_on(model, at_ms)) {
            match spell.fault {
                Fault::Fails { share, after_ms } if luck < share => fate = Some(Fate::Fails { after_ms }),
                Fault::Hangs => fate = Some(Fate::Hangs { keeps_alive: false }),
                Fault::KeepsAlive => fate = Some(Fate::Hangs { keeps_alive: true }),
                Fault::Slow(times) => (ttft_ms, ms_per_token) = (ttft_ms * times, ms_per_token * times),
                Fault::Drifts(times) => {
                    let times = 1.0 + (times - 1.0) * spell.share(at_ms);
                    (ttft_ms, ms_per_token) = (ttft_ms * times, ms_per_token * times);
                }
                Fault::Cuts(share) if luck < share => {
                    let total_ms = (ttft_ms + tokens as f64 * ms_per_token) / 2.0;
                    fate = Some(Fate::Answers { ttft_ms, total_ms, is_cut: true });
                }
                Fault::Fails { .. } | Fault::Cuts(_) | Fault::Limited { .. } => {}
            }
        }
        if dice.f64() < NOISE {
            return fate.unwrap_or(Fate::Fails { after_ms: 100 });
        }
        let total_ms = ttft_ms + tokens as f64 * ms_per_token;
        fate.unwrap_or(Fate::Answers { ttft_ms, total_ms, is_cut: false })
    }
}

/// One request of a client.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) at_ms: u64,
    /// Tokens of the answer.
    pub(crate) tokens: u64,
    pub(crate) streamed: bool,
}

/// What comes of a call.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    Answers { ttft_ms: f64, total_ms: f64, is_cut: bool },
    Fails { after_ms: u64 },
    Hangs { keeps_alive: bool },
}

/// Normally distributed, with mean 0 and deviation 1 (Box and Muller).
fn normal(dice: &mut Rng) -> f64 {
    (-2.0 * (1.0 - dice.f64()).ln()).sqrt() * (TAU * dice.f64()).cos()
}
