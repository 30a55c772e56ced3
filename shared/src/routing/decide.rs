//! What a request is about, which tier serves it, and which models of that tier can.
//!
//! Everything here happens in process, before anything is held or sent. The tier follows from the summed probability of
//! all its intents, not from the single likeliest one: two reasoning intents at 0.3 each outweigh a cheap one at 0.4.

use crate::catalog::{Catalog, Model, Target, Tier};
use crate::config::{Config, IntentSpec};
use crate::directory::authenticate::Caller;
use crate::error::Error;
use crate::estimate::InputEstimate;
use crate::receipt::{Intent, IntentSource};
use crate::routing::dial::tier_for;
use crate::routing::head;
use crate::routing::intents::{Found, Intents, Readings};
use crate::tenant::{Limits, Quota};
use crate::wire::facts::{Capabilities, Efforts, Facts};
use crate::wire::format::FieldNames;
use crate::wire::request::Request;
use std::sync::Arc;

/// What was decided about a request.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What it is about; absent where the client named a tier or a model.
    pub intent: Option<Intent>,
    /// The probability of each intent.
    pub scores: Vec<(Arc<str>, f32)>,
    /// The probability that the cheap tier's answer would not do: the first of `needs`.
    pub difficulty: Option<f32>,
    /// For each tier but the strongest, weakest first, the probability that a stronger one is needed; empty as above.
    pub needs: Vec<f32>,
    /// The tier, if it is served by one.
    pub tier: Option<Arc<Tier>>,
    /// The models that can serve it, in configured order; never empty.
    pub candidates: Vec<Arc<Model>>,
    /// The others, and why they cannot.
    pub rejected: Vec<(Arc<str>, String)>,
    /// Whether a model should classify it.
    pub unsure: bool,
    /// What an embedder is to be asked about a team's own intents, for this was decided by the table in process; empty
    /// where there is none.
    pub to_embed: Arc<[String]>,
}

/// What is known of a request without its tenant.
#[derive(Debug, Clone)]
pub struct Detected {
    /// What it is most likely about.
    pub intent: Intent,
    /// The probability of each intent; empty where there is no text.
    pub scores: Vec<(Arc<str>, f32)>,
    /// The probability that the cheap tier's answer would not do.
    pub difficulty: f32,
    /// See [`Decision::needs`].
    pub needs: Vec<f32>,
    /// The tier that the dial gives it.
    pub tier: Arc<Tier>,
    /// Whether a model should classify it.
    pub unsure: bool,
}

/// Decides about a request.
///
/// # Errors
/// 404 for an unknown model, 403 for one that the tenant may not use, 400 if no model can do what the request needs or the
/// tenant's settings do not allow what it would make the provider bill.
pub fn decide(config: &Config, intents: &Intents, caller: &Caller, request: &Request) -> Result<Decision, Error> {
    let (catalog, facts) = (&config.catalog, &request.facts);
    refuse_extras(catalog, caller, facts)?;
    if facts.inputs.is_some() {
        return for_vectors(catalog, caller, request);
    }
    if facts.models.is_empty() {
        return match catalog.resolve(&facts.model) {
            None => Err(not_found(catalog, caller, &facts.model)),
            Some(Target::Auto) if !caller.tenant.allows("auto") => Err(Error::ModelNotAllowed("auto".into())),
            Some(Target::Auto) => {
                let decision = by_intent(config, intents, caller, request, None)?;
                // A tenant's prompts go to no provider that it may not use.
                let may_use = config.embedder.as_ref().is_some_and(|embedder| {
                    let can_be_held = !embedder.model.price.is_unknown() || cost_quota(caller).is_none();
                    can_be_held && caller.tenant.allows(&embedder.model.name)
                });
                let is_asked = may_use && intents.has_own() && !facts.prompt.trim().is_empty();
                let texts = is_asked.then(|| intents.texts(request).all().map(str::to_owned).collect());
                Ok(Decision { to_embed: texts.unwrap_or_default(), ..decision })
            }
            Some(Target::Tier(tier)) => {
                if !caller.tenant.allows(&tier.name)
                    && !tier.models.iter().any(|model| caller.tenant.allows(&model.name))
                {
                    return Err(Error::ModelNotAllowed(tier.name.to_string()));
                }
                pinned(catalog, Some(tier.clone()), tier.models.clone(), caller, request)
            }
            Some(Target::Model(model)) => pinned(catalog, None, vec![model], caller, request),
        };
    }
    let mut models: Vec<Arc<Model>> = Vec::new();
    for name in Some(&facts.model).filter(|name| !name.is_empty()).into_iter().chain(&facts.models) {
        let named = match catalog.resolve(name) {
            None => return Err(not_found(catalog, caller, name)),
            Some(Target::Auto) => {
                return Err(Error::invalid(
                    request.format.fields().models,
                    "`auto` cannot stand in or beside a list of models.",
                ));
            }
            Some(Target::Tier(tier)) => tier.models.clone(),
            Some(Target::Model(model)) => vec![model],
        };
        for model in named {
            if models.iter().all(|known| known.name != model.name) {
                models.push(model);
            }
        }
    }
    pinned(catalog, None, models, caller, request)
}

/// Refuses what the tenant's settings do not allow: what one provider alone has, and what makes it bill otherwise.
fn refuse_extras(catalog: &Catalog, caller: &Caller, facts: &Facts) -> Result<(), Error> {
    let allows_extras = caller.tenant.settings.allow_paid_extras;
    if let Some(field) = facts.provider_bound.as_deref().filter(|_| !allows_extras || !names_one_model(catalog, facts))
    {
        let message = format!(
            "`{field}` names what only one provider has stored or runs. Send what it stands for instead, as most clients do with `store: false`; or name the one model of that provider, where this tenant's settings `allow_paid_extras`."
        );
        return Err(Error::invalid(field, message));
    }
    if let Some(field) = facts.paid_extra.as_deref().filter(|_| !allows_extras) {
        let message = format!(
            "`{field}` changes what the provider bills. This tenant's settings do not allow that; `allow_paid_extras` would."
        );
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

/// Decides about a request for vectors: the model that is named makes them, or another that makes the same. Vectors of two
/// models cannot be compared, so no other may stand in for it, and the gateway chooses none by itself (ADR 37).
fn for_vectors(catalog: &Catalog, caller: &Caller, request: &Request) -> Result<Decision, Error> {
    let name = &request.facts.model;
    match catalog.resolve(name) {
        None => Err(not_found(catalog, caller, name)),
        Some(Target::Auto | Target::Tier(_)) => {
            let message = format!(
                "Vectors of two models cannot be compared, so `{name}` chooses none: name a model of GET /v1/models that makes vectors."
            );
            Err(Error::invalid("model", message))
        }
        Some(Target::Model(model)) if !caller.tenant.allows(&model.name) => {
            Err(Error::ModelNotAllowed(model.name.to_string()))
        }
        Some(Target::Model(model)) => pinned(catalog, None, catalog.with_its_like(&model), caller, request),
    }
}

/// Why a model cannot serve a request of this kind, if it is so: for the receipt, and for the client.
fn of_another_kind(model: &Model, facts: &Facts) -> Option<(String, Error)> {
    let name = &model.name;
    match (&facts.inputs, &model.vectors) {
        (None, None) => None,
        (None, Some(_)) => {
            let message =
                format!("`{name}` makes vectors of texts and generates nothing; POST /v1/embeddings is for it.");
            Some(("it makes vectors and generates nothing".to_owned(), Error::invalid("model", message)))
        }
        (Some(_), None) => {
            let message = format!("`{name}` generates answers and makes no vectors; name a model that makes vectors.");
            Some(("it makes no vectors".to_owned(), Error::invalid("model", message)))
        }
        (Some(inputs), Some(vectors)) => (inputs.tokens.is_some() && !vectors.takes_tokens).then(|| {
            let message = format!("`{name}` takes texts; tokens are those of OpenAI's models alone. Send the texts.");
            ("it takes no tokens".to_owned(), Error::invalid("input", message))
        }),
    }
}

/// Whether a request is for one model, so that no other may serve it; one that is unknown is refused elsewhere.
fn names_one_model(catalog: &Catalog, facts: &Facts) -> bool {
    facts.models.is_empty() && matches!(catalog.resolve(&facts.model), None | Some(Target::Model(_)))
}

/// Decides by what a request is about; by these `readings` of a team's own intents, if there are any.
pub(crate) fn by_intent(
    config: &Config,
    intents: &Intents,
    caller: &Caller,
    request: &Request,
    readings: Option<&Readings>,
) -> Result<Decision, Error> {
    let found = detect_by(config, intents, caller.tenant.settings.quality, request, readings);
    let (tier, candidates, rejected) = tier_that_can(&config.catalog, found.tier, caller, request)?;
    Ok(Decision {
        intent: Some(found.intent),
        scores: found.scores,
        difficulty: Some(found.difficulty),
        needs: found.needs,
        tier: Some(tier),
        candidates,
        rejected,
        unsure: found.unsure,
        to_embed: Arc::default(),
    })
}

/// Names that differ in no more letters than one in this many are taken for misspelt.
const LETTERS_PER_SLIP: usize = 3;
/// A longer name is not compared with those that exist: what one wrong request costs is bounded.
const COMPARED_BYTES: usize = 128;

/// That there is no model of this name: with the nearest one that the tenant may use, or, where the configuration
/// lists it, with the provider that has no key here.
pub(crate) fn not_found(catalog: &Catalog, caller: &Caller, name: &str) -> Error {
    let without_key = catalog
        .unserved
        .iter()
        .find(|(unserved, _)| &**unserved == name)
        .map(|(_, provider)| format!("It is configured, but its provider `{provider}` has no API key here."));
    let nearest = || {
        let slips = |known: &str| strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase());
        let known = catalog.names().filter(|known| caller.tenant.allows(known) && name.len() <= COMPARED_BYTES);
        let (slips, nearest) = known.map(|known| (slips(known), known)).min()?;
        (slips * LETTERS_PER_SLIP <= name.len()).then(|| format!("Did you mean `{nearest}`?"))
    };
    Error::ModelNotFound { model: name.to_owned(), hint: without_key.or_else(nearest) }
}

/// A decision that the client made.
fn pinned(
    catalog: &Catalog,
    tier: Option<Arc<Tier>>,
    models: Vec<Arc<Model>>,
    caller: &Caller,
    request: &Request,
) -> Result<Decision, Error> {
    let (candidates, rejected, why_not) = eligible(catalog, &models, tier.as_deref(), caller, request);
    match (candidates.is_empty(), why_not) {
        (true, Some(error)) => Err(error),
        _ => Ok(Decision {
            intent: None,
            scores: Vec::new(),
            difficulty: None,
            needs: Vec::new(),
            tier,
            candidates,
            rejected,
            unsure: false,
            to_embed: Arc::default(),
        }),
    }
}

/// What a request is about, and which tier a dial of this quality gives it, all by the table in process.
#[must_use]
pub fn detect(config: &Config, intents: &Intents, quality: f64, request: &Request) -> Detected {
    detect_by(config, intents, quality, request, None)
}

fn detect_by(
    config: &Config,
    intents: &Intents,
    quality: f64,
    request: &Request,
    readings: Option<&Readings>,
) -> Detected {
    // Where there is no text, no model would know more.
    if request.facts.prompt.trim().is_empty() {
        return Detected { unsure: false, ..default_of(config, intents, None) };
    }
    let (mut found, without_orders) = intents.read(&intents.texts(request), readings);
    let mut needs = needs(config, &intents.specs, &mut found);
    // An order about routing lowers no tier: without it the text needs at least as much. Nor does it less with it, for the
    // clause that is left out may hold the task itself; so both are read.
    if let Some(mut found) = without_orders {
        let unordered = self::needs(config, &intents.specs, &mut found);
        needs.iter_mut().zip(unordered).for_each(|(need, unordered)| *need = need.max(unordered));
    }
    let tier = tier_for(&needs, quality).min(config.catalog.tiers.len() - 1);
    let best = (0..found.scores.len()).max_by(|a, b| found.scores[*a].total_cmp(&found.scores[*b])).unwrap_or(0);
    // What is in an unknown language is taken at its word where there is next to no doubt that it is cheap.
    let is_plain = needs.first().is_some_and(|need| 1.0 - need >= head::unknown_is_cheap_from());
    let is_readable = found.is_known || is_plain;
    let detected = Detected {
        intent: Intent {
            name: intents.specs[best].name.clone(),
            confidence: found.scores[best],
            source: IntentSource::Embedding,
        },
        scores: intents.specs.iter().map(|spec| spec.name.clone()).zip(found.scores).collect(),
        difficulty: needs.first().copied().unwrap_or(0.0),
        tier: config.catalog.tiers[tier].clone(),
        unsure: !is_readable || f64::from(certainty(&needs) * found.belongs) < config.intent.ask_below,
        needs,
    };
    match config.intent.ask_below > 0.0 || is_readable {
        true => detected,
        // Nobody is to be asked.
        false => {
            let default = default_of(config, intents, Some(&detected.intent));
            Detected { intent: default.intent, tier: default.tier, unsure: false, ..detected }
        }
    }
}

/// For each tier but the strongest, weakest first, the probability that a stronger one is needed.
///
/// It follows from the summed probability of the intents that a stronger tier serves, and from the hardness: what is about the
/// same may be easy or hard. What was learnt from feedback corrects both it and the intents.
fn needs(config: &Config, specs: &[IntentSpec], found: &mut Found) -> Vec<f32> {
    let catalog = &config.catalog;
    let strength = |tier: &str| catalog.tier(tier).map_or(0, |tier| tier.strength);
    let above = |strength_of_tier: usize| -> f32 {
        let stronger = specs.iter().zip(&found.scores).filter(|(spec, _)| strength(&spec.tier) > strength_of_tier);
        stronger.map(|(_, score)| score).sum()
    };
    let tiers = 0..catalog.tiers.len() - 1;
    let mut needs: Vec<f32> = tiers.map(|tier| head::need(above(tier), found.hardness, found.is_exam)).collect();
    if !config.intent.fitted.is_neutral() {
        let named = specs.iter().map(|spec| spec.name.clone()).zip(found.scores.iter().copied());
        let named: Vec<(Arc<str>, f32)> = named.collect();
        let is_stronger =
            |name: &str, tier: usize| specs.iter().any(|spec| *spec.name == *name && strength(&spec.tier) > tier);
        for (tier, need) in needs.iter_mut().enumerate() {
            let mut scores = named.clone();
            *need = config.intent.fitted.apply(&mut scores, *need, |name| is_stronger(name, tier));
            found.scores = scores.into_iter().map(|(_, score)| score).collect();
        }
    }
    needs
}

/// How sure the tier is: the probability of the likelier side, where it is least clear.
#[must_use]
pub fn certainty(needs: &[f32]) -> f32 {
    needs.iter().map(|need| need.max(1.0 - need)).fold(1.0, f32::min)
}

/// What a request is taken for when nothing says what it is about: the configured intent, else work for the strongest tier.
fn default_of(config: &Config, intents: &Intents, likeliest: Option<&Intent>) -> Detected {
    let spec = config.intent.default_intent.as_ref().and_then(|name| intents.find(name));
    let strongest = &config.catalog.tiers[config.catalog.tiers.len() - 1];
    let tier = spec.and_then(|spec| config.catalog.tier(&spec.tier)).unwrap_or(strongest).clone();
    let is_served = |spec: &&IntentSpec| spec.tier == tier.name;
    let name = match (spec, likeliest) {
        (Some(spec), _) => &spec.name,
        (None, Some(likeliest)) => &likeliest.name,
        (None, None) => &intents.specs.iter().find(is_served).unwrap_or(&intents.specs[0]).name,
    };
    let confidence = likeliest.map_or(0.0, |found| found.confidence);
    let intent = Intent { name: name.clone(), confidence, source: IntentSource::Default };
    let difficulty = if tier.strength == 0 { 0.0 } else { 1.0 };
    Detected { intent, scores: Vec::new(), difficulty, needs: Vec::new(), tier, unsure: true }
}

impl Decision {
    /// Takes the default, for nothing could say what the request is about.
    pub(crate) fn fall_back(&mut self, config: &Config, intents: &Intents, caller: &Caller, request: &Request) {
        let default = default_of(config, intents, self.intent.as_ref());
        if let Ok((tier, candidates, rejected)) = tier_that_can(&config.catalog, default.tier, caller, request) {
            self.intent = Some(default.intent);
            (self.tier, self.candidates, self.rejected) = (Some(tier), candidates, rejected);
        }
    }

    /// Takes the intent that a model named.
    pub(crate) fn take(&mut self, spec: &IntentSpec, config: &Config, caller: &Caller, request: &Request) {
        let Some(tier) = config.catalog.tier(&spec.tier) else { return };
        if let Ok((tier, candidates, rejected)) = tier_that_can(&config.catalog, tier.clone(), caller, request) {
            self.intent = Some(Intent { name: spec.name.clone(), confidence: 1.0, source: IntentSource::Classifier });
            (self.tier, self.candidates, self.rejected) = (Some(tier), candidates, rejected);
        }
    }
}

type Served = (Arc<Tier>, Vec<Arc<Model>>, Vec<(Arc<str>, String)>);

/// The tier, or if none of its models can, the next stronger one, or the next weaker one.
fn tier_that_can(catalog: &Catalog, tier: Arc<Tier>, caller: &Caller, request: &Request) -> Result<Served, Error> {
    let mut why = None;
    for needs in needs_of(caller, &request.facts) {
        let mut rejected = Vec::new();
        let stronger = catalog.tiers[tier.strength..].iter();
        let weaker = catalog.tiers[..tier.strength].iter().rev();
        for tier in stronger.chain(weaker) {
            let (candidates, no, why_not) = able(catalog, &tier.models, Some(tier), caller, request, needs);
            rejected.extend(no);
            if !candidates.is_empty() {
                return Ok((tier.clone(), candidates, rejected));
            }
            why = why.or(why_not);
        }
    }
    Err(why.unwrap_or_else(|| Error::ModelNotFound { model: "auto".into(), hint: None }))
}

/// Candidates, models passed over with the reason, and the client's error if there are no candidates.
type Eligible = (Vec<Arc<Model>>, Vec<(Arc<str>, String)>, Option<Error>);

/// What a model must be able to do to serve a request; and, where the tenant's settings allow it, what it must be able to do if
/// none knows how much the client says it is to think.
fn needs_of(caller: &Caller, facts: &Facts) -> impl Iterator<Item = Capabilities> {
    let without_effort = Capabilities { reasoning: false, efforts: Efforts::default(), ..facts.needs };
    let may_drop = caller.tenant.settings.drop_unknown_effort && without_effort != facts.needs;
    std::iter::once(facts.needs).chain(may_drop.then_some(without_effort))
}

/// Which models can serve a request, which cannot and why, and the client's error if none can.
pub(crate) fn eligible(
    catalog: &Catalog,
    models: &[Arc<Model>],
    tier: Option<&Tier>,
    caller: &Caller,
    request: &Request,
) -> Eligible {
    let mut of_needs =
        needs_of(caller, &request.facts).map(|needs| able(catalog, models, tier, caller, request, needs));
    let found = of_needs.next().unwrap_or_default();
    let eased = found.0.is_empty().then(|| of_needs.next()).flatten();
    eased.filter(|(candidates, ..)| !candidates.is_empty()).unwrap_or(found)
}

/// The same of models that have to have these capabilities.
fn able(
    catalog: &Catalog,
    models: &[Arc<Model>],
    tier: Option<&Tier>,
    caller: &Caller,
    request: &Request,
    needs: Capabilities,
) -> Eligible {
    let (facts, fields) = (&request.facts, request.format.fields());
    // Each text has the whole window for itself, and its provider knows best how long it is.
    let whole = || InputEstimate::of(facts).estimated_tokens / 2;
    let input_tokens = facts.inputs.map_or_else(whole, |inputs| inputs.longest_tokens);
    let (mut candidates, mut rejected, mut why_not) = (Vec::new(), Vec::new(), None);
    for model in models {
        let allowed = caller.tenant.allows(&model.name) || tier.is_some_and(|tier| caller.tenant.allows(&tier.name));
        let (reason, error) = if !allowed {
            ("not allowed for this tenant".to_owned(), Error::ModelNotAllowed(model.name.to_string()))
        } else if let Some(other) = of_another_kind(model, facts) {
            other
        } else if let Some(capability) = model.capabilities.lacks(needs) {
            let message = format!("No model that could serve this request has the capability `{capability}`.");
            (format!("lacks {capability}"), Error::invalid(field_of(capability, fields), message))
        } else if let Some(quota) = cost_quota(caller).filter(|_| model.price.is_unknown()) {
            let message = format!("The price of `{}` is unknown, and there is a limit `{quota}`.", model.name);
            (format!("its price is unknown, and there is a limit {quota}"), Error::invalid("model", message))
        } else if input_tokens > model.context_tokens {
            let (tokens, window_tokens, field) = (input_tokens, model.context_tokens, fields.messages);
            ("the request is longer than its window".to_owned(), Error::ContextTooLong { tokens, window_tokens, field })
        } else if let Some(Err(why)) = catalog.format_of(model).map(|format| request.left_out(format)) {
            let message = format!("{why}; no model that could serve this request understands it.");
            (format!("its provider's format cannot say this: {why}"), Error::invalid(why.field, message))
        } else {
            candidates.push(model.clone());
            continue;
        };
        rejected.push((model.name.clone(), reason));
        why_not = why_not.or(Some(error));
    }
    (candidates, rejected, why_not)
}

/// The first quota of cost, the tenant's or the key's own, by its name in the settings.
fn cost_quota(caller: &Caller) -> Option<&'static str> {
    let of = |limits: &Limits| {
        let daily = limits.daily_cost_nusd.map(|_| Quota::DailyCost);
        daily.or(limits.monthly_cost_nusd.map(|_| Quota::MonthlyCost)).map(Quota::limit_name)
    };
    let own = caller.key_limits.as_ref().and_then(|own| of(&own.limits));
    of(&caller.tenant.settings.limits).or(own)
}

/// The request's field that asks for a capability.
fn field_of(capability: &str, fields: &FieldNames) -> &'static str {
    match capability {
        "tools" => fields.tools,
        "json_schema" => fields.answer_format,
        "logprobs" => fields.logprobs,
        "forced_tools" => fields.tool_choice,
        "reasoning" | "efforts" => fields.effort,
        "sampling" => fields.sampling,
        _ => fields.messages,
    }
}
