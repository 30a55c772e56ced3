//! A model's hash, read by the names of its fields, which are those of `model.lua`.
//!
//! A hash with a field for each number, as text, is what an operator looks at in an incident (`HGETALL`). The scripts know
//! the fields by name, and so does [`field`]; a test holds each of the one against the other.

use super::answers::{list, text};
use super::script::whole;
use super::store::RedisStore;
use crate::health::ModelState;
use crate::health::breaker::Breaker;
use crate::health::welford::Welford;
use crate::store::StoreError;
use redis::Value;

/// A model as the store has it. The default is one that was never written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StoredModel {
    pub(super) state: ModelState,
    /// How often it was written.
    pub(super) times_written: u64,
}

/// A model's hash, for an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRecord {
    pub(super) stored: StoredModel,
    pub(super) tau_ms: u64,
}

impl RedisStore {
    /// What the store has of a model; `None` if it does not know it.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn inspect_model(&self, model: &str) -> Result<Option<ModelRecord>, StoreError> {
        let stored = self.read_model(model).await?;
        Ok((stored.times_written > 0).then_some(ModelRecord { stored, tau_ms: self.tuning.tau_ms }))
    }
}

/// A number of a model.
enum Number<'a> {
    Real(&'a mut f64),
    Whole(&'a mut u64),
    Count(&'a mut u32),
}

/// The number that a field stands for.
fn field<'a>(model: &'a mut StoredModel, name: &str) -> Option<Number<'a>> {
    let StoredModel { state, times_written } = model;
    let (of, number) = name.rsplit_once('.').unwrap_or(("", name));
    Some(match (of, number) {
        ("ttft_ms", _) => return of_measure(&mut state.ttft_ms, number),
        ("ms_per_token", _) => return of_measure(&mut state.ms_per_token, number),
        ("failure", _) => return of_measure(&mut state.failure, number),
        ("breaker.evidence", _) => return of_measure(&mut state.breaker.evidence, number),
        ("breaker", "consecutive_failures") => Number::Count(&mut state.breaker.consecutive_failures),
        ("breaker", "run_from_ms") => Number::Whole(&mut state.breaker.run_from_ms),
        ("breaker", "late_answers") => Number::Count(&mut state.breaker.late_answers),
        ("breaker", _) => return of_breaker(&mut state.breaker, number),
        ("refusals", "latest") => Number::Whole(&mut state.refusals.run.0[0]),
        ("refusals", "earlier") => Number::Whole(&mut state.refusals.run.0[1]),
        ("refusals", "tenant") => Number::Whole(&mut state.refusals.tenant),
        ("refusals", "run_from_ms") => Number::Whole(&mut state.refusals.run_from_ms),
        ("refusals", "late_answers") => Number::Count(&mut state.refusals.late_answers),
        ("refusals", _) => return of_breaker(&mut state.refusals.breaker, number),
        ("", "cooldown_until_ms") => Number::Whole(&mut state.cooldown_until_ms),
        ("", "cooled_at_ms") => Number::Whole(&mut state.cooled_at_ms),
        ("", "unwell_since_ms") => Number::Whole(&mut state.unwell_since_ms),
        ("", "well_since_ms") => Number::Whole(&mut state.well_since_ms),
        ("", "times_written") => Number::Whole(times_written),
        _ => return None,
    })
}

fn of_measure<'a>(measure: &'a mut Welford, number: &str) -> Option<Number<'a>> {
    Some(match number {
        "w" => Number::Real(&mut measure.w),
        "w2" => Number::Real(&mut measure.w2),
        "mean" => Number::Real(&mut measure.mean),
        "s" => Number::Real(&mut measure.s),
        "t_ms" => Number::Whole(&mut measure.t_ms),
        _ => return None,
    })
}

/// What both breakers have; the one for failures counts besides.
fn of_breaker<'a>(breaker: &'a mut Breaker, number: &str) -> Option<Number<'a>> {
    Some(match number {
        "opened_in_a_row" => Number::Count(&mut breaker.opened_in_a_row),
        "open_until_ms" => Number::Whole(&mut breaker.open_until_ms),
        "probe_until_ms" => Number::Whole(&mut breaker.probe_until_ms),
        "counts_from_ms" => Number::Whole(&mut breaker.counts_from_ms),
        "changed_at_ms" => Number::Whole(&mut breaker.changed_at_ms),
        "out_since_ms" => Number::Whole(&mut breaker.out_since_ms),
        _ => return None,
    })
}

impl StoredModel {
    /// Reads what `HGETALL` answers. A field that nobody knows, of a later version that has the same layout, says nothing.
    pub(super) fn read(answer: &Value) -> Option<Self> {
        let mut model = Self::default();
        for pair in list(answer)?.chunks_exact(2) {
            let [name, value] = pair else { return None };
            let (name, value) = (text(name)?, text(value)?);
            let Some(number) = field(&mut model, name) else { continue };
            let value: f64 = value.parse().ok()?;
            match number {
                Number::Real(real) => *real = value,
                Number::Whole(number) => *number = whole(value),
                Number::Count(count) => *count = u32::try_from(whole(value)).ok()?,
            }
        }
        Some(model)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::script::packed;
    use super::*;
    use crate::health::breaker::BreakerSettings;
    use crate::health::refusals::{Refusals, Refused, Run};
    use crate::health::score::HealthSettings;
    use crate::health::{Observation, Signal};
    use crate::store::HealthStore;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use test_servers::redis::Redis;

    const NOW: u64 = 1_763_820_000_000;
    /// The fields that the scripts alone look at.
    const OF_SCRIPTS: [&str; 2] = ["probe_leased_to", "batches"];

    /// Without jitter, which is drawn at random.
    fn breaker() -> BreakerSettings {
        BreakerSettings { jitter_percent: 0, ..BreakerSettings::default() }
    }

    fn store_at(redis: &Redis) -> RedisStore {
        RedisStore::new(&redis.url(), &HealthSettings::default(), &breaker(), 0).unwrap()
    }

    /// Runs lines of Lua after those of `model.lua`, on the model `m`.
    async fn lua(store: &RedisStore, lines: &str, args: &[Vec<u8>]) -> Value {
        let text = concat!("#!lua\n", include_str!("../lua/model.lua")).to_owned() + lines;
        let mut eval = redis::cmd("EVAL");
        eval.arg(text).arg(1).arg(store.model_key("m")).arg(args);
        store.ask(eval.into()).await.unwrap()
    }

    /// The names that `model.lua` has for what is a number here.
    async fn names(store: &RedisStore) -> BTreeSet<String> {
        let lines = "local names = {} for name in pairs(MODEL) do names[#names + 1] = name end return names";
        let answer = lua(store, lines, &[]).await;
        let names = list(&answer).unwrap().iter().map(|name| text(name).unwrap().to_owned());
        let (own, names): (BTreeSet<_>, _) = names.partition(|name| OF_SCRIPTS.contains(&name.as_str()));
        assert_eq!(own.len(), OF_SCRIPTS.len());
        names
    }

    /// Sets fields by the scripts' own lines.
    async fn set(store: &RedisStore, fields: impl Iterator<Item = (&str, f64)>) {
        let args: Vec<Vec<u8>> = fields.flat_map(|(name, value)| [name.as_bytes().to_vec(), packed([value])]).collect();
        let lines = "local model = read_model(2 ^ 53)
            for i = 1, #ARGV, 2 do model[ARGV[i]] = struct.unpack('<d', ARGV[i + 1]) end
            write_model(model)";
        lua(store, lines, &args).await;
    }

    fn value(model: &mut StoredModel, name: &str) -> f64 {
        match field(model, name).unwrap_or_else(|| panic!("{name} is in model.lua alone")) {
            Number::Real(real) => *real,
            #[allow(clippy::cast_precision_loss)]
            Number::Whole(number) => *number as f64,
            Number::Count(count) => f64::from(*count),
        }
    }

    #[tokio::test]
    async fn each_field_is_written_by_the_scripts_and_read_here_by_the_same_name() {
        let redis = Redis::start(&[]).await.unwrap();
        let store = store_at(&redis);
        let names = names(&store).await;
        // Written by name in Lua, each another number; what `write_model` counts by itself comes out right, too.
        let numbers = || (1..).map(f64::from);
        let set_to = |name: &str, number| if name == "times_written" { number - 1.0 } else { number };
        let fields = names.iter().zip(numbers()).map(|(name, number)| (name.as_str(), set_to(name, number)));
        set(&store, fields).await;
        // Read as a whole in Rust. No field is left out, or the compiler minds.
        let unread = RefCell::new(names.clone());
        let real = |name: &str| {
            assert!(unread.borrow_mut().remove(name), "{name} is not in model.lua");
            numbers().zip(&names).find(|(_, known)| *known == name).unwrap().0
        };
        let number = |name: &str| whole(real(name));
        let count = |name: &str| u32::try_from(number(name)).unwrap();
        let measure = |of: &str| Welford {
            w: real(&format!("{of}.w")),
            w2: real(&format!("{of}.w2")),
            mean: real(&format!("{of}.mean")),
            s: real(&format!("{of}.s")),
            t_ms: number(&format!("{of}.t_ms")),
        };
        let breaker = |of: &str, run: (u32, u64, u32), evidence| Breaker {
            opened_in_a_row: count(&format!("{of}.opened_in_a_row")),
            consecutive_failures: run.0,
            run_from_ms: run.1,
            late_answers: run.2,
            open_until_ms: number(&format!("{of}.open_until_ms")),
            probe_until_ms: number(&format!("{of}.probe_until_ms")),
            counts_from_ms: number(&format!("{of}.counts_from_ms")),
            changed_at_ms: number(&format!("{of}.changed_at_ms")),
            out_since_ms: number(&format!("{of}.out_since_ms")),
            evidence,
        };
        let state = ModelState {
            ttft_ms: measure("ttft_ms"),
            ms_per_token: measure("ms_per_token"),
            failure: measure("failure"),
            breaker: breaker(
                "breaker",
                (count("breaker.consecutive_failures"), number("breaker.run_from_ms"), count("breaker.late_answers")),
                measure("breaker.evidence"),
            ),
            refusals: Refusals {
                run: Run([number("refusals.latest"), number("refusals.earlier")]),
                tenant: number("refusals.tenant"),
                run_from_ms: number("refusals.run_from_ms"),
                late_answers: count("refusals.late_answers"),
                breaker: breaker("refusals", (0, 0, 0), Welford::default()),
            },
            cooldown_until_ms: number("cooldown_until_ms"),
            cooled_at_ms: number("cooled_at_ms"),
            unwell_since_ms: number("unwell_since_ms"),
            well_since_ms: number("well_since_ms"),
        };
        let expected = StoredModel { state, times_written: number("times_written") };
        assert_eq!(store.read_model("m").await.unwrap(), expected);
        assert_eq!(*unread.borrow(), BTreeSet::new(), "in model.lua, and not read");
    }

    #[tokio::test]
    async fn each_field_is_what_the_state_machines_have() {
        let redis = Redis::start(&[]).await.unwrap();
        let store = store_at(&redis);
        let (names, model): (_, Arc<str>) = (names(&store).await, "m".into());
        let mut mirror = StoredModel::default();
        let answered = |ttft_ms| Signal::Answered { ttft_ms, ms_per_token: Some(ttft_ms / 7.0) };
        let refused = |request| Signal::Refused(Refused { request, tenant: 1 + request % 2 });
        let (late, last) = (answered(13_000.0), answered(64.1)); // the one from before the failure
        let refusals = [refused(3), refused(4), late, refused(5)];
        let run = [&[answered(80.3), answered(71.9), Signal::Failed], &refusals[..], &[last]].concat();
        let later = [Signal::Nothing, Signal::CoolDown { until_ms: NOW + 90_000 }, refused(6), answered(95.7)];
        let signals = [&run[..], &[Signal::Failed; 5], &later, &[Signal::Failed; 3], &run].concat();
        let mut ever_set = BTreeSet::new();
        for (step, signal) in (1..).zip(signals) {
            let now_ms = NOW + step * 4_000;
            let begun_at_ms = now_ms - if signal == late { 13_000 } else { 40 };
            let observation = Observation { model: model.clone(), begun_at_ms, signal };
            store.record(std::slice::from_ref(&observation), now_ms).await.unwrap();
            mirror.state.record(&observation, now_ms, HealthSettings::default().tau_ms, &breaker());
            mirror.times_written += 1;
            let leased = store.try_probe(&model, "acme", 5_000, now_ms + 1).await.unwrap();
            let tenant = crate::health::refusals::mark_of_tenant("acme");
            let mut probed = mirror.state.clone();
            assert_eq!(leased, probed.try_probe(tenant, 5_000, now_ms + 1), "step {step}");
            if leased {
                (mirror.state, mirror.times_written) = (probed, mirror.times_written + 1);
            }
            let mut stored = store.read_model("m").await.unwrap();
            for name in &names {
                let (stored, mirrored) = (value(&mut stored, name), value(&mut mirror, name));
                let near = (stored - mirrored).abs() <= 1e-9 * mirrored.abs().max(1.0);
                assert!(near, "step {step}, {signal:?}: {name} is {stored}, not {mirrored}");
                if stored != 0.0 {
                    ever_set.insert(name.clone());
                }
            }
        }
        assert_eq!(ever_set, names, "each has been something");
    }

    #[test]
    fn a_number_survives_the_way_as_text_to_the_last_bit() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let redis = runtime.block_on(Redis::start(&[])).unwrap();
        let store = store_at(&redis);
        let numbers = prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL, 4);
        proptest!(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() }, |(
            reals in numbers,
            mark in 1..=1_u64 << 53,
        )| {
            let names = ["ttft_ms.w", "ttft_ms.w2", "ttft_ms.mean", "ttft_ms.s"];
            let fields = names.into_iter().zip(reals.iter().copied());
            #[allow(clippy::cast_precision_loss)]
            let fields = fields.chain([("refusals.tenant", mark as f64)]);
            let read = runtime.block_on(async {
                set(&store, fields).await;
                store.read_model("m").await.unwrap().state
            });
            let Welford { w, w2, mean, s, .. } = read.ttft_ms;
            prop_assert_eq!([w, w2, mean, s].map(f64::to_bits).to_vec(), reals.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            prop_assert_eq!(read.refusals.tenant, mark);
            let lines = "local model = read_model(2 ^ 53) return struct.pack('<d', model['ttft_ms.s'])";
            let in_lua = runtime.block_on(lua(&store, lines, &[]));
            prop_assert_eq!(in_lua, Value::BulkString(packed([reals[3]])));
        });
    }
}
